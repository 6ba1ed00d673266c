"""Real builds of a tree of three modules: what is compiled anew, what comes from the cache, what is said."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT

HEADER = "static int fastrpc_step(void) { return 1; }\n"
DECLARATION = (
    'cdef extern from "base/hash64.h":\n    int fastrpc_step() noexcept nogil\n\ncdef int one(int value)\n'
)
ONE = "cdef int one(int value):\n    return value + fastrpc_step()\n\ndef answer():\n    return one(41)\n"
TWO = "from fastrpc._core.base.one cimport one\n\ndef twice():\n    return one(one(40))\n"


class Tree:
    """Sources that setup.py builds, and a cache of their own."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        self.base = root / "src/fastrpc/_core/base"
        # Whatever build the tests themselves run on.
        own = ("FASTRPC_BUILD", "FASTRPC_BUILD_CACHE")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in own},
            "XDG_CACHE_HOME": str(cache),
        }
        self.base.mkdir(parents=True)
        for folder in (self.base, self.base.parent, self.base.parent.parent):
            (folder / "__init__.py").touch()
        shutil.copytree(ROOT / "ci" / "compiling", root / "ci" / "compiling")
        shutil.copy(ROOT / "ci" / "__init__.py", root / "ci")
        shutil.copy(ROOT / "setup.py", root)
        (root / "pyproject.toml").write_text('[project]\nname = "fastrpc"\nversion = "0"\n')
        for name, text in {
            "hash64.h": HEADER,
            "one.pxd": DECLARATION,
            "one.pyx": ONE,
            "two.pyx": TWO,
        }.items():
            (self.base / name).write_text(text)

    def command(self) -> list[str]:
        return [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]

    def build(self, **environment: str) -> str:
        """Build in place, and return what was said."""
        built = subprocess.run(
            self.command(),
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert built.returncode == 0, built.stderr
        return built.stdout

    def run(self, code: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", f"from fastrpc._core.base import one, two; print({code})"],
            env=self.environment | {"PYTHONPATH": str(self.root / "src")},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree", tmp_path / "cache")


def compiled(tree: Tree) -> set[str]:
    """The modules whose C was written since the last question."""
    generated = tree.root / "build/release/cython"
    names = {path.stem for path in generated.rglob("*.c")}
    shutil.rmtree(generated, ignore_errors=True)
    return names


def test_only_what_depends_on_a_change_is_compiled(tree: Tree) -> None:
    tree.build()
    assert compiled(tree) == {"_shared", "one", "two"}
    assert tree.run("one.answer(), two.twice()") == "42 42"

    assert tree.build() == ""
    assert compiled(tree) == set()

    (tree.base / "one.pyx").write_text(ONE.replace("41", "51"))
    tree.build()
    assert compiled(tree) == {"one"}
    assert tree.run("one.answer()") == "52"

    (tree.base / "one.pxd").write_text(DECLARATION.replace("one(int value)", "one(int value) except -1"))
    (tree.base / "one.pyx").write_text(ONE.replace("one(int value)", "one(int value) except -1"))
    tree.build()
    assert compiled(tree) == {"one", "two"}

    (tree.base / "hash64.h").write_text(HEADER.replace("1", "2"))
    tree.build()
    assert compiled(tree) == {"_shared", "one", "two"}
    assert tree.run("one.answer(), two.twice()") == "43 44"


def test_a_second_tree_takes_modules_from_the_cache(tree: Tree, tmp_path: Path) -> None:
    tree.build()
    second = Tree(tmp_path / "second", tmp_path / "cache")
    second.build()
    assert compiled(second) == set()
    assert second.run("one.answer(), two.twice()") == "42 42"

    # The changed header makes every key another one, and the old modules stay for the first tree.
    (second.base / "hash64.h").write_text(HEADER.replace("1", "3"))
    second.build()
    assert compiled(second) == {"_shared", "one", "two"}
    assert second.run("one.answer()") == "44"

    # Other flags of the compiler: nothing fits.
    third = Tree(tmp_path / "third", tmp_path / "cache")
    third.build(CFLAGS="-DOTHER")
    assert compiled(third) == {"_shared", "one", "two"}

    off = Tree(tmp_path / "off", tmp_path / "cache")
    off.build(FASTRPC_BUILD_CACHE="off")
    assert compiled(off) == {"_shared", "one", "two"}


def test_a_tree_without_the_harness_takes_modules_of_one_with_it(tree: Tree, tmp_path: Path) -> None:
    """A source distribution has none."""
    harness = tree.root / "src/fastrpc_harness"
    harness.mkdir()
    (harness / "three.pxd").write_text("cdef int three()\n")
    tree.build()
    second = Tree(tmp_path / "second", tmp_path / "cache")
    second.build()
    assert compiled(second) == set()


def test_a_cache_that_others_can_write_is_told_and_not_used(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "cache" / "fastrpc").mkdir(parents=True)
    (tmp_path / "cache" / "fastrpc").chmod(0o777)
    built = subprocess.run(
        tree.command(), cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=True
    )
    assert f"{tmp_path}/cache/fastrpc can be written by others" in built.stderr
    assert list((tmp_path / "cache" / "fastrpc").iterdir()) == []


def test_a_failed_build_shows_its_log_and_keeps_what_was_built(tree: Tree) -> None:
    (tree.base / "two.pyx").write_text(TWO.replace("one(40)", "unknown(40)"))
    failed = subprocess.run(
        tree.command(), cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "undeclared name not builtin: unknown" in failed.stderr
    assert "building fastrpc._core.base.two failed" in failed.stderr
    (tree.base / "two.pyx").write_text(TWO)
    compiled(tree)
    tree.build()
    assert "two" in compiled(tree)
    assert tree.run("two.twice()") == "42"


def test_a_missing_compiler_ends_the_build_before_cython_starts(tree: Tree) -> None:
    failed = subprocess.run(
        tree.command(),
        cwd=tree.root,
        env=tree.environment | {"CC": "no-such-cc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith(
        "fastrpc is compiled, and there is no C compiler 'no-such-cc'; install one: "
    )
    assert not (tree.root / "build").exists()


def test_a_terminal_shows_one_changing_line(tree: Tree) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen(tree.command(), cwd=tree.root, env=tree.environment, stdout=terminal) as build:
        os.close(terminal)
        shown = b""
        try:
            while read := os.read(screen, 1000):
                shown += read
        except OSError:  # Linux says so that the other side is closed.
            pass
    os.close(screen)
    assert build.returncode == 0
    lines = shown.decode().split("\r")
    assert lines[1] == "compiling 0 of 3, a few seconds; log: build/release/build.log\x1b[K"
    assert lines[2].startswith("compiling 1 of 3, ")
    assert lines[4].startswith("compiled 3 modules in ")
    assert shown.count(b"\n") == 1


def test_the_record_names_modules_of_this_folder(tree: Tree) -> None:
    tree.build()
    record = json.loads((tree.root / "build/release/built.json").read_text())
    assert all(not os.path.isabs(path) for path in record)
    assert len(record) == 3

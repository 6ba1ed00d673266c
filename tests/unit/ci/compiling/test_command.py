"""Real builds of a tree of three modules: compiled modules, modules from the cache, and output."""

import json
import os
import pty
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.built_tree import DECLARATION, HEADER, ONE, TWO, Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "tree", tmp_path / "cache")


def compiled(tree: Tree) -> set[str]:
    """The modules whose C was written since the last question."""
    generated = tree.root / "build/release/cython"
    names = {path.stem for path in generated.rglob("*.c")}
    shutil.rmtree(generated, ignore_errors=True)
    return names


def test_only_dependents_of_a_change_are_compiled(tree: Tree) -> None:
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
    """A source distribution has no harness."""
    harness = tree.root / "src/fastrpc_harness"
    harness.mkdir()
    (harness / "three.pxd").write_text("cdef int three()\n")
    tree.build()
    second = Tree(tmp_path / "second", tmp_path / "cache")
    second.build()
    assert compiled(second) == set()


def test_a_cache_that_others_can_write_is_reported_and_not_used(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "cache" / "fastrpc").mkdir(parents=True)
    (tmp_path / "cache" / "fastrpc").chmod(0o777)
    built = subprocess.run(
        tree.command(), cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=True
    )
    assert f"{tmp_path}/cache/fastrpc can be written by others" in built.stderr
    assert list((tmp_path / "cache" / "fastrpc").iterdir()) == []


def test_a_failed_build_shows_its_log_and_keeps_earlier_modules(tree: Tree) -> None:
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


def test_a_pipe_gets_whole_lines_while_it_builds(tree: Tree) -> None:
    with subprocess.Popen(
        tree.command(), cwd=tree.root, env=tree.environment, stdout=subprocess.PIPE, text=True
    ) as build:
        assert build.stdout is not None
        first = build.stdout.readline()
        # Nothing is compiled yet.
        assert not list(tree.base.glob("*.so"))
        rest = build.stdout.read()
    assert build.returncode == 0
    assert first == "compiling 0 of 3, a few seconds; log: build/release/build.log\n"
    lines = rest.splitlines(keepends=True)
    assert [re.sub(r", .*;", ";", line) for line in lines[:-1]] == [
        f"compiling {done} of 3; log: build/release/build.log\n" for done in (1, 2)
    ]
    assert re.fullmatch(r"compiled 3 modules in \d+ s\n", lines[-1])


def test_the_record_names_modules_of_this_folder(tree: Tree) -> None:
    tree.build()
    record = json.loads((tree.root / "build/release/built.json").read_text())
    assert all(not os.path.isabs(path) for path in record)
    assert len(record) == 3

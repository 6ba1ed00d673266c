"""Real builds without compiler, without headers and on a full disk: they end with a message, and nothing is built."""

import contextlib
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ci.compiling.requirements import compiler_command
from tests.support.built_tree import Tree

#: The commands that install headers and compiler on the machine of the test.
ANY_INSTALLER = (
    r"(apt-get|dnf|zypper) install \S+.*|apk add .+|pacman -S .+|xcode-select --install|install .+"
)

Hindrance = Callable[[Path], AbstractContextManager[tuple[Tree, str]]]


@contextlib.contextmanager
def without_compiler(folder: Path) -> Iterator[tuple[Tree, str]]:
    """Yield a tree whose build finds no program, and the message of that."""
    tree = Tree(folder / "tree", folder / "cache")
    (folder / "bin").mkdir()
    tree.environment["PATH"] = str(folder / "bin")
    tree.environment.pop("CC", None)
    name = compiler_command({})[0]
    if Path(name).is_absolute():
        pytest.skip("this interpreter names its compiler by its path")
    yield (
        tree,
        rf"fastrpc is compiled, and there is no C compiler '{re.escape(name)}'; install one: {ANY_INSTALLER}",
    )


@contextlib.contextmanager
def without_headers(folder: Path) -> Iterator[tuple[Tree, str]]:
    """Yield a tree whose build has an interpreter without its headers, as distributions package it."""
    tree = Tree(folder / "tree", folder / "cache")
    home = folder / "home"
    library = Path(sysconfig.get_path("stdlib"))
    for name in {"lib", sys.platlibdir}:
        (home / name).mkdir(parents=True)
        (home / name / library.name).symlink_to(library)
    tree.python = getattr(sys, "_base_executable", sys.executable)
    packages = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    tree.environment |= {"PYTHONHOME": str(home), "PYTHONPATH": ":".join(packages)}
    include = rf"{re.escape(str(home))}/include/python\S+"
    yield (
        tree,
        rf"fastrpc is compiled, and {include} has no Python\.h; install the headers: {ANY_INSTALLER}",
    )


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of a megabyte."""
    folder.mkdir()
    program = shutil.which("mount")
    command = [str(program), "-t", "tmpfs", "-o", "size=1m", "small", str(folder)]
    if program is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this process may mount no disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> None:
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
        while filling.write(bytes(4096)):
            pass
    assert shutil.disk_usage(disk).free == 0


@contextlib.contextmanager
def on_a_small_disk(folder: Path) -> Iterator[tuple[Tree, str]]:
    with small_disk(folder / "disk") as disk:
        tree = Tree(disk / "tree", folder / "cache")
        yield tree, rf"compiling 3 modules takes 4 MB in {disk}/tree, where 1 MB are free; make room, .*"


@contextlib.contextmanager
def on_a_full_disk(folder: Path) -> Iterator[tuple[Tree, str]]:
    """Yield a tree on a disk that takes not one byte more."""
    with small_disk(folder / "disk") as disk:
        tree = Tree(disk / "tree", folder / "cache")
        fill(disk)
        yield tree, rf"compiling 3 modules takes 4 MB in {disk}/tree, where 0 MB are free; make room, .*"


@contextlib.contextmanager
def with_a_full_temporary_folder(folder: Path) -> Iterator[tuple[Tree, str]]:
    tree = Tree(folder / "tree", folder / "cache")
    with small_disk(folder / "disk") as disk:
        tree.environment["TMPDIR"] = str(disk)
        yield (
            tree,
            rf"compiling 3 modules takes 32 MB in {disk}, where 1 MB are free; make room, or set TMPDIR.*",
        )


@contextlib.contextmanager
def with_a_temporary_folder_without_a_byte(folder: Path) -> Iterator[tuple[Tree, str]]:
    tree = Tree(folder / "tree", folder / "cache")
    with small_disk(folder / "disk") as disk:
        tree.environment["TMPDIR"] = str(disk)
        fill(disk)
        yield (
            tree,
            rf"compiling 1 module takes 32 MB in {disk}, where 0 MB are free; make room, or set TMPDIR.*",
        )


HINDRANCES = pytest.mark.parametrize(
    "hindrance",
    [
        *(without_compiler, without_headers, on_a_small_disk, on_a_full_disk, with_a_full_temporary_folder),
        with_a_temporary_folder_without_a_byte,
    ],
)


def refused(tree: Tree) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        tree.command(), cwd=tree.root, env=tree.environment, capture_output=True, text=True, check=False
    )


@HINDRANCES
def test_a_build_that_cannot_succeed_ends_with_a_message_and_before_cython_starts(
    hindrance: Hindrance, tmp_path: Path
) -> None:
    with hindrance(tmp_path) as (tree, message):
        ended = refused(tree)
        assert ended.returncode == 1
        assert re.fullmatch(message, ended.stderr.rstrip("\n")), ended.stderr
        assert ended.stdout == ""
        # The folder of C, objects and log.
        assert not (tree.root / "build").exists()


@pytest.mark.measures
@HINDRANCES
def test_the_message_comes_within_five_seconds(hindrance: Hindrance, tmp_path: Path) -> None:
    with hindrance(tmp_path) as (tree, _):
        began = time.monotonic()
        assert refused(tree).returncode == 1
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"CC": "env LC_ALL=C gcc"},
            r"env does not tell its version: .*; set CC to .*",
        ),
        ({"CC": " "}, r"CC is blank; unset it, or name a C compiler"),
        ({"FASTRPC_BUILD": "fast"}, r"FASTRPC_BUILD is 'fast', it must be one of release, .*"),
    ],
    ids=["a CC of several words", "a blank CC", "FASTRPC_BUILD"],
)
def test_a_variable_that_is_wrong_is_named(environment: dict[str, str], message: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", tmp_path / "cache")
    tree.environment |= environment
    ended = refused(tree)
    assert ended.returncode == 1
    assert re.fullmatch(message, ended.stderr.rstrip("\n")), ended.stderr


def test_an_empty_profile_is_the_release(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", tmp_path / "cache")
    tree.build(FASTRPC_BUILD="")
    assert tree.run("one.answer()") == "42"


def test_a_cache_without_room_stops_no_build(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "tree", tmp_path / "cache")
    with small_disk(tmp_path / "disk") as disk:
        (disk / "fastrpc").mkdir(mode=0o700)
        disk.chmod(0o700)
        fill(disk)
        tree.environment["XDG_CACHE_HOME"] = str(disk)
        built = refused(tree)
    assert built.returncode == 0, built.stderr
    told = f"the cache of compiled modules is not used: {disk}/fastrpc: No space left on device"
    assert built.stderr.splitlines() == [told]
    assert tree.run("one.answer()") == "42"

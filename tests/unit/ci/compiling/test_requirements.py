"""What a build asks for before it starts, and the packages that it names."""

import sys
from pathlib import Path

import pytest

from ci.compiling.requirements import (
    BYTES_PER_MODULE,
    check_compiler,
    check_disk,
    check_interpreter,
    compiler_command,
)

#: The commands that install headers and compiler on the machine of the test.
ANY_INSTALLER = r"install|apk add|pacman|xcode-select"


def test_the_interpreter_of_the_tests_is_accepted() -> None:
    check_interpreter()
    check_compiler(compiler_command())


def test_free_threaded_interpreters_are_refused_with_the_reason() -> None:
    with pytest.raises(SystemExit, match=r"free-threaded CPython: the core relies on the GIL"):
        check_interpreter(variables=lambda name: 1 if name == "Py_GIL_DISABLED" else None)


def test_other_implementations_are_refused() -> None:
    with pytest.raises(SystemExit, match="needs CPython, this is pypy"):
        check_interpreter(implementation="pypy")


def test_windows_is_refused_with_the_reason() -> None:
    with pytest.raises(SystemExit, match="does not run on Windows: the sockets"):
        check_interpreter(platform="win32")


def test_a_missing_compiler_is_named_with_its_package() -> None:
    with pytest.raises(SystemExit, match=rf"no C compiler 'no-such-cc'.*({ANY_INSTALLER})"):
        check_compiler(["no-such-cc"])


def test_missing_headers_are_named_with_the_package_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"no Python\.h; install the headers: .*({ANY_INSTALLER})"):
        check_compiler(compiler_command(), include=str(tmp_path))


def test_a_compiler_that_fails_is_refused_with_its_first_error(tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'x.c:2: fatal error: stdio.h: No such file' >&2\nexit 1\n")
    compiler.chmod(0o755)
    with pytest.raises(SystemExit, match=r"fatal error: stdio\.h: No such file; install it anew"):
        check_compiler([str(compiler)])


def test_a_full_disk_is_refused_with_the_required_size(tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=rf"compiling 132 modules takes 185 MB in {tmp_path}, where 7 MB are free"
    ):
        check_disk(tmp_path / "build" / "deep", 132, free_of=lambda folder: 7_000_000)


def test_a_full_folder_of_temporary_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="TMPDIR"):
        check_disk(tmp_path, 1, free_of=lambda folder: BYTES_PER_MODULE)


def test_a_full_disk_stops_no_build_that_has_nothing_to_compile(tmp_path: Path) -> None:
    check_disk(tmp_path, 0, free_of=lambda folder: 0)


def test_the_compiler_is_set_by_the_environment() -> None:
    assert compiler_command({"CC": "ccache gcc-12"}) == ["ccache", "gcc-12"]
    assert compiler_command({}) != []


def test_the_interpreter_checks_itself_by_the_standard_library_alone() -> None:
    assert not [
        name for name in ("setuptools", "Cython") if name in vars(sys.modules[check_compiler.__module__])
    ]

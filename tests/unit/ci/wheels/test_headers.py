"""Which CPython and machine has its headers where."""

import os
import sys
import sysconfig
from pathlib import Path

from ci.wheels.headers import SUITES, headers_of, interpreters_named

VERSION = sysconfig.get_python_version()
MACHINE = os.uname().machine


def test_a_version_of_no_suite_is_left_out_without_an_interpreter_of_it(tmp_path: Path) -> None:
    assert "3.12" not in SUITES
    assert headers_of("3.12", "x86_64", tmp_path, {}) is None


def test_headers_of_a_named_interpreter_are_its_own(tmp_path: Path) -> None:
    named = interpreters_named(sys.executable)
    assert named == {(VERSION, MACHINE): sys.executable}
    found = headers_of(VERSION, MACHINE, tmp_path, named)
    assert found is not None
    assert (found[0] / "Python.h").exists()


def test_headers_that_were_unpacked_once_are_used_again(tmp_path: Path) -> None:
    unpacked = tmp_path / "3.13-aarch64/usr/include/python3.13"
    unpacked.mkdir(parents=True)
    (unpacked / "Python.h").touch()
    assert headers_of("3.13", "aarch64", tmp_path, {}) == [unpacked, unpacked.parent]

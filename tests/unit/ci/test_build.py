"""The output of `ci/build`: its progress while it runs, the log if it fails."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT

#: Stands for an interpreter that builds: reports two steps, and ends when the test says so.
INTERPRETER = """#!/bin/sh
echo "[ 7/9] Cythonizing src/a.pyx"
echo "[ 3/9] Compiled fastrpc._core.a"
read -r code < go
exit "$code"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with that interpreter, and the pipe through which it hears its exit code."""
    interpreter = tmp_path / ".venv" / "bin" / "python"
    for folder in (
        interpreter.parent,
        tmp_path / "ci",
        tmp_path / "src/fastrpc/_core",
        tmp_path / "src/fastrpc_harness",
    ):
        folder.mkdir(parents=True)
    interpreter.write_text(INTERPRETER, encoding="utf-8")
    interpreter.chmod(0o755)
    shutil.copy(ROOT / "ci" / "build", tmp_path / "ci")
    os.mkfifo(tmp_path / "go")
    return tmp_path


def test_a_terminal_shows_the_modules_that_are_done(clone: Path) -> None:
    screen, terminal = pty.openpty()
    with subprocess.Popen([clone / "ci" / "build", "release"], stdout=terminal) as build:
        os.close(terminal)
        shown = b""
        while b"\r" not in shown:
            shown += os.read(screen, 1000)
        (clone / "go").write_text("0\n")
    os.close(screen)
    assert b"Compiled module 3 of 9" in shown
    assert build.returncode == 0


def test_a_failed_build_shows_its_log(clone: Path) -> None:
    with subprocess.Popen(
        [clone / "ci" / "build", "release"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as build:
        (clone / "go").write_text("5\n")
        said, failed = build.communicate()
    assert build.returncode == 1
    assert said == ""
    assert "[ 7/9] Cythonizing src/a.pyx" in failed

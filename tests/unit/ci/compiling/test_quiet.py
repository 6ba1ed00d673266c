"""What a build prints: no line for each file."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source_tree import ROOT

BUILD = """
import sys
sys.path.insert(0, {root!r})
from ci.compiling.quiet import leave_out_files
if {is_quiet}:
    leave_out_files()
from setuptools import setup
setup(name="small", version="1", packages=["small"], script_args=["bdist_wheel"])
"""


@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_wheel_is_written_without_a_line_for_each_file(tmp_path: Path, is_quiet: bool) -> None:
    (tmp_path / "small").mkdir()
    for name in ("__init__.py", "one.py", "two.py"):
        (tmp_path / "small" / name).touch()
    program = BUILD.format(root=str(ROOT), is_quiet=is_quiet)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    named = [line for line in done.stdout.splitlines() if "one.py" in line]
    assert (named == []) is is_quiet
    assert "running bdist_wheel" in done.stdout
    assert list((tmp_path / "dist").glob("*.whl"))

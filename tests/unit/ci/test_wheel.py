"""What `make wheel` needs to find before it begins: nothing but the sources and an interpreter."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fastrpc._core.calls import call
from tests.support.source_tree import ROOT

#: Stands for an interpreter: prints its arguments, and ends the run there.
INTERPRETER = '#!/bin/sh\necho asked for: "$@"\nexit 7\n'


def test_wheel_is_begun_in_a_fresh_clone(tmp_path: Path) -> None:
    interpreter = tmp_path / ".venv" / "bin" / "python"
    for folder in (interpreter.parent, tmp_path / "ci"):
        folder.mkdir(parents=True)
    interpreter.write_text(INTERPRETER, encoding="utf-8")
    interpreter.chmod(0o755)
    shutil.copy(ROOT / "ci" / "wheel", tmp_path / "ci")
    ended = subprocess.run([tmp_path / "ci" / "wheel"], capture_output=True, text=True, check=False)
    # The log of the build reaches the terminal when the build fails.
    assert ended.stderr == "asked for: -m build --outdir build/wheel\n"
    assert ended.returncode == 1


@pytest.mark.parametrize(
    ("name", "is_foreign"),
    [
        ("fastrpc/_core/calls/call.cpython-311-x86_64-linux-gnu.so", False),
        ("fastrpc/__init__.py", False),
        ("fastrpc.libs/libz-1.so", False),
        ("fastrpc-0.1.0.dist-info/METADATA", False),
        ("fastrpc_harness/recording.cpython-311-x86_64-linux-gnu.so", True),
        ("fastrpc_harness/__init__.py", True),
        ("tests/support/engine.py", True),
        ("planted_faults.cpython-311-x86_64-linux-gnu.so", True),
    ],
)
def test_wheels_carry_the_package_and_nothing_else(tmp_path: Path, name: str, is_foreign: bool) -> None:
    wheel = tmp_path / "fastrpc.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(name, Path(call.__file__).read_bytes() if name.endswith(".so") else b"")
    told = subprocess.run(
        [sys.executable, ROOT / "ci" / "check_distributions.py", wheel],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (f"{wheel.name} carries {name}\n" in told.stderr) is is_foreign

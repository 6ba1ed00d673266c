"""What `make wheel` needs to find before it begins: nothing but the sources and an interpreter."""

import shutil
import subprocess
from pathlib import Path

from tests.support.source_tree import ROOT

#: Stands for an interpreter: says what it was asked for, and ends the run there.
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

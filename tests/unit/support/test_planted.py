"""The search for planted secrets, which itself has to find them."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.planted import PLANTED, told
from tests.support.source_tree import ROOT

TESTS = f"""
import logging
import sys

SECRET = {PLANTED[0]!r}


def test_prints():
    print(SECRET)


def test_writes():
    sys.stderr.write(SECRET)


def test_logs():
    logging.warning("%s", SECRET)


def test_keeps():
    print(len(SECRET))
"""


def test_a_planted_secret_is_found_at_any_place() -> None:
    sections = [("Captured stdout call", f"x {PLANTED[0]} y"), ("Captured log call", "nothing")]
    assert told(sections) == [f"{PLANTED[0]} in Captured stdout call"]


def test_a_test_that_tells_a_secret_fails(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport\n")
    (tmp_path / "test_telling.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed, 3 errors" in done.stdout

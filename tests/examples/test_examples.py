"""Each example runs as printed."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# The demonstration has a command of its own, `make demo`, which CI runs.
EXAMPLES = sorted(path for path in HERE.glob("*.py") if path.stem not in {"demo", "test_examples"})


def output_of(path: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
def test_example_runs(path: Path) -> None:
    assert output_of(path)


def test_core_answers_without_a_socket() -> None:
    output = output_of(HERE / "core_without_a_socket.py")
    assert "server: ('request', 1, b'arith.mul'" in output
    assert "client: ('response', 1, 0, 0, " in output


def test_architecture_shows_the_example_as_it_runs() -> None:
    example = (HERE / "core_without_a_socket.py").read_text(encoding="utf-8")
    document = (HERE.parents[1] / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert example.split('"""\n\n', 1)[1] in document

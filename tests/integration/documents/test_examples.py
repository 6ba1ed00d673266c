"""Every program of tests/examples runs to its end and finds its expected results."""

from pathlib import Path

import pytest

from tests.conftest import SCALE
from tests.support.program import Program

FOLDER = Path(__file__).parents[2] / "examples"
#: What they serve is no program by itself. The demo and its parts have a step of CI of their own: `make demo`.
EXAMPLES = sorted(
    path
    for path in FOLDER.glob("*.py")
    if not path.name.endswith("_service.py") and (SCALE > 1 or not path.name.startswith("demo"))
)


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_example_works(path: Path, tmp_path: Path) -> None:
    with Program([str(path)], tmp_path) as program:
        ended = program.wait(120.0)
    assert (ended.code, "Traceback" in ended.errors) == (0, False), ended

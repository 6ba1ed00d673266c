"""A run notes classes unpickled in it, also in the programs that tests start."""

from pathlib import Path

import pytest

from tests.conftest import SCALE
from tests.support.program import run_program
from tests.support.unpickling import NOTED
from tests.support.warm_process import WarmProcess

UNPICKLES = "import collections, pickle; pickle.loads(pickle.dumps(collections.OrderedDict()))"


@pytest.mark.skipif(
    SCALE > 1 or not WarmProcess.IS_POSSIBLE,
    reason="programs start an interpreter anew, which is not watched",
)
def test_a_program_that_unpickles_is_noted(tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    assert run_program(["-c", UNPICKLES], tmp_path, {NOTED: str(noted)}).code == 0
    assert noted.read_text().startswith("collections.OrderedDict at ")

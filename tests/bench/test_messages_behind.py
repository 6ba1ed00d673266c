"""A group that lags far behind the end of a log: its rate, and the memory of the broker that serves it."""

from pathlib import Path

import pytest

from bench.beside.bars import Side
from bench.messages.bars import MEMORY
from bench.messages.sides import figures_of
from tests.conftest import SCALE

#: The number of messages by which the group lags, and the seconds for which each rate is measured.
BEHIND = 200_000 if SCALE <= 1 else 1_000_000
SECONDS = 2.0 if SCALE <= 1 else 20.0

MOST_MEBIBYTES = 128


@pytest.mark.measures
def test_group_that_lags_far_has_half_the_rate_of_a_group_that_keeps_up(tmp_path: Path) -> None:
    sides = [Side("ours normal", "ours", kind) for kind in ("handled", "backlog", MEMORY)]
    up, behind, memory = sides
    found = figures_of(up, tmp_path / "up", SECONDS) | figures_of(
        behind, tmp_path / "behind", SECONDS, BEHIND
    )
    print({side.kind: found[side] for side in sides})
    assert found[behind] <= 2 * found[up], "seconds of a message"
    assert found[memory] <= MOST_MEBIBYTES

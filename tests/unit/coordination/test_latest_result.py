"""The result that callers share: made once for each key, and kept for a second after it was made."""

from collections.abc import Callable

import pytest

from fastrpc.coordination.latest_result import LatestResult
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


def counting() -> tuple[Callable[[], int], list[int]]:
    made: list[int] = []

    def make() -> int:
        made.append(len(made) + 1)
        return made[-1]

    return make, made


async def test_is_made_once_for_each_key_and_forgotten_after_a_second() -> None:
    latest: LatestResult[int] = LatestResult()
    make, made = counting()
    assert [latest.get("a", make), latest.get("a", make), latest.get("b", make)] == [1, 1, 2]
    await pass_time(1.1)
    assert latest.get("b", make) == 3
    assert len(made) == 3


async def test_a_later_result_is_kept_for_its_whole_second_too() -> None:
    latest: LatestResult[int] = LatestResult()
    make, _ = counting()
    latest.get("a", make)
    await pass_time(0.9)
    assert latest.get("b", make) == 2
    await pass_time(0.9)
    assert latest.get("b", make) == 2
    await pass_time(0.2)
    assert latest.get("b", make) == 3

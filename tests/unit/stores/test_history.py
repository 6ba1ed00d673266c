"""The history of a store: the changes after a revision, and the watchers that wait for them."""

import asyncio

import pytest

from fastrpc.stores.base import ItemChange
from fastrpc.stores.local import history
from fastrpc.stores.local.history import History


def change(revision: int, key: str = "a/k") -> ItemChange:
    return ItemChange(key, revision, None)


@pytest.mark.one_loop
@pytest.mark.parametrize("reached", range(5))
def test_changes_after_a_revision_are_those_above_it(reached: int) -> None:
    kept = History()
    kept.add([change(1), change(2), change(2, "a/l"), change(4)])
    assert [one.revision for one in kept.after(reached, 4)] == [
        each for each in (1, 2, 2, 4) if each > reached
    ]


@pytest.mark.parametrize("longest", [0.0, 1e9], ids=["one timer", "own timers"])
async def test_watchers_give_up_once_their_time_is_over(
    longest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_LONG_SECONDS", longest)
    kept = History()
    kept.add([change(7)])
    found = await asyncio.gather(*(kept.changed("a/", 0.01) for _ in range(20)))
    assert found == [(7, False)] * 20
    assert (kept.watchers, kept._giving_up) == (0, {})


async def test_watchers_that_are_told_or_cancelled_leave_no_timer() -> None:
    kept = History()
    waiting = [asyncio.ensure_future(kept.changed("a/", 3_600.0)) for _ in range(20)]
    while kept.watchers < 20:
        await asyncio.sleep(0)
    assert 1 <= len(kept._giving_up) <= 2
    for each in waiting[:10]:
        each.cancel()
    kept.add([change(1)])
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert found[10:] == [(0, True)] * 10
    assert kept._giving_up == {}


async def test_the_end_of_a_watcher_ends_each_of_its_waits() -> None:
    kept = History()
    end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for revision in (1, 2):
        waiting = asyncio.ensure_future(kept.changed("a/", None, end))
        while kept.watchers == 0:
            await asyncio.sleep(0)
        kept.add([change(revision)])
        assert await waiting == (revision - 1, True)
    waiting = asyncio.ensure_future(kept.changed("a/", None, end))
    while kept.watchers == 0:
        await asyncio.sleep(0)
    end.set_result(None)
    assert await waiting == (2, False)
    assert await kept.changed("a/", None, end) == (2, False)
    assert kept._ends == {}


async def test_a_wait_without_a_sound_time_leaves_no_watcher() -> None:
    kept = History()
    with pytest.raises(ValueError, match="NaN"):
        await kept.changed("a/", float("nan"))
    assert kept.watchers == 0

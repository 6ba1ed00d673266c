"""The metrics of locks, settings and schedules."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fastrpc import gauges as gauge_module
from fastrpc.coordination import Store
from fastrpc.errors import LockLostError
from fastrpc.gauges import COUNTS, BoundedNames, count, gauges
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    clock = asyncio.get_running_loop().time
    async with Store(LocalStore(clock=clock), clock=clock) as store:
        yield store


def shown() -> dict[tuple[str, ...], float]:
    """Return the gauges of locks by name and labels."""
    found = ((name, *labels, value) for name, labels, value in gauges())
    return {
        tuple(map(str, key)): value for *key, value in found if "lock" in str(key) or "leader" in str(key)
    }


async def test_gauges_tell_the_locks_of_this_process(store: Store) -> None:
    async with store.lock("a"), store.semaphore("b", 2), store.lead("shop", "me"):
        waiting = asyncio.create_task(store.lock("a").__aenter__())
        await pass_time(1)
        assert shown() == {
            ("fastrpc_locks_held",): 2,
            ("fastrpc_locks_waiting",): 1,
            ("fastrpc_leader", "shop"): 1,
        }
        waiting.cancel()
        await asyncio.wait([waiting])
    assert shown() == {("fastrpc_locks_held",): 0, ("fastrpc_locks_waiting",): 0}


async def test_lost_locks_are_counted(store: Store) -> None:
    before = COUNTS["locks_lost"].get("", 0)
    with pytest.raises(LockLostError):
        async with store.lock("a") as lock:
            lock.lease.lose("by the test")
            await pass_time(1)
    assert COUNTS["locks_lost"][""] == before + 1


def test_labels_beyond_the_limit_count_as_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COUNTS, "schedule_runs", {})
    monkeypatch.setitem(gauge_module._names, "schedule_runs", BoundedNames())
    for number in range(300):
        count("schedule_runs", f"jobs.{number}", "ok")
    count("schedule_runs", "jobs.7", "ok")
    counts = COUNTS["schedule_runs"]
    assert len(counts) == 201
    assert (counts["jobs.7\nok"], counts["_other\nok"]) == (2, 100)

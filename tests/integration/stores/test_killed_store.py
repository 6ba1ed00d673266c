"""A store that is killed again and again under load: acknowledged writes, history, leases and locks outlast it."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path

import pytest

from fastrpc import LockLostError, StoreError
from fastrpc.coordination import Change, Store, open_store
from fastrpc.errors import CompactedError
from tests.conftest import Scale
from tests.support.cluster import in_thread
from tests.support.store_process import StoreProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

TASKS = 8

#: Seconds for which the store keeps a lock. It is away for less than half of that.
TTL = 5.0


class Load:
    """Tasks that write rising numbers, and the answers to them and to a watcher."""

    def __init__(self, store: Store) -> None:
        self._store = store
        #: Key and number of each acknowledged revision.
        self.acknowledged: dict[int, tuple[str, int]] = {}
        self.changes: list[Change[int]] = []

    async def write(self, task: int) -> None:
        for number in range(1_000_000):
            # A write whose outcome is unknown is not repeated.
            with suppress(StoreError):
                revision = await self._store.put(f"k/{task}", number)
                assert revision not in self.acknowledged
                self.acknowledged[revision] = f"k/{task}", number
            await asyncio.sleep(0.002)

    async def watch(self) -> None:
        async with self._store.watch("k/", int, after=0, every_change=True) as changes:
            while True:
                # A watcher may miss the store for longer than a watch waits, and continues after the latest change.
                with suppress(StoreError):
                    self.changes.append(await anext(changes))

    def faults(self) -> list[str]:
        """Return how the changes differ from the writes."""
        revisions = [change.revision for change in self.changes]
        found = [] if revisions == sorted(set(revisions)) else ["a change came twice, or late"]
        seen = {change.revision: (change.key, change.item and change.item.value) for change in self.changes}
        for revision, told in self.acknowledged.items():
            if seen.get(revision) != told:
                found.append(f"the change {revision} is {seen.get(revision)}, acknowledged was {told}")
        for task in range(TASKS):
            numbers = [
                change.item.value for change in self.changes if change.key == f"k/{task}" and change.item
            ]
            if numbers != sorted(set(numbers)):
                found.append(f"the numbers of task {task} fall")
        return found


async def kept_changes(store: Store, last: int) -> list[Change[int]]:
    """Return the changes up to a revision that the store still has."""
    after = 0
    while True:
        found: list[Change[int]] = []
        try:
            async with store.watch("k/", int, after=after, every_change=True) as changes:
                while not found or found[-1].revision < last:
                    found.append(await anext(changes))
            return found
        except CompactedError as error:
            after = error.oldest


class Held:
    """A lock and a lease that have to outlast each restart, whose longest one is noted."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tokens: list[int] = []
        self.losses: list[str] = []
        #: Begin and end of each.
        self.outages: list[tuple[float, float]] = []

    def longest_away(self) -> float:
        """Return the most seconds of outages within the seconds of a lease."""
        return max(
            sum(max(0.0, min(end, until) - max(begin, until - TTL)) for begin, end in self.outages)
            for _, until in self.outages
        )

    async def hold(self) -> None:
        while True:
            try:
                async with self._store.lease(TTL) as lease, self._store.lock("job", ttl=TTL) as lock:
                    await self._store.put("leased", lock.token, lease=lease)
                    self.tokens.append(lock.token)
                    await asyncio.Event().wait()
            except LockLostError as error:
                self.losses.append(str(error))
            except StoreError:
                # Away before it was held.
                continue


async def test_killed_store_keeps_acknowledged_writes(tmp_path: Path, scale: Scale) -> None:
    chance = scale.random(4)
    process = StoreProcess(tmp_path)
    with process.running():
        async with open_store(process.url) as store:
            load, held = Load(store), Held(store)
            running = [asyncio.create_task(load.write(task)) for task in range(TASKS)]
            running += [asyncio.create_task(load.watch()), asyncio.create_task(held.hold())]
            await eventually(lambda: held.tokens)
            for _ in range(scale(5) if scale.factor <= 1 else scale(20)):
                reached = len(load.acknowledged) + chance.randrange(20, 100)
                await eventually(lambda reached=reached: len(load.acknowledged) > reached)
                killed = time.monotonic()
                await in_thread(process.kill)
                await in_thread(process.start)
                held.outages.append((killed, time.monotonic()))
                # In a long run the store runs as long as it may be away, for renewals.
                await asyncio.sleep(0.0 if scale.factor <= 1 else TTL / 2)
            reached = len(load.acknowledged) + 30
            await eventually(lambda: len(load.acknowledged) > reached)
            for task in running[:TASKS]:
                task.cancel()
            await asyncio.wait(running[:TASKS])
            last = max(load.acknowledged)
            await eventually(lambda: load.changes[-1].revision >= last)
            kept = await kept_changes(store, load.changes[-1].revision)
            leased = await store.get("leased", int)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
    assert load.faults() == []
    # A write that was cut off may come after them.
    first, last = kept[0].revision, kept[-1].revision
    assert [change for change in load.changes if first <= change.revision <= last] == kept
    # A machine that stalls may keep the store away for longer.
    assert held.losses == [] or held.longest_away() > TTL / 2
    assert held.losses or (leased is not None and leased.value == held.tokens[-1])

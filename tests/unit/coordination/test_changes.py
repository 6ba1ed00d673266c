"""Watches that outlast a store that is away, in virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from fastrpc.coordination import Store
from fastrpc.coordination.changes import ItemChanges
from fastrpc.errors import StoreError
from fastrpc.stores.base import ItemChange, ItemPage, ItemWatch
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class RestartedStore(LocalStore):
    """A store whose first watches are quiet until they fail."""

    #: The seconds of each watch that fails.
    watches: list[float]
    is_gone = False

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        return self._fail(self.watches.pop(0)) if self.watches else super().watch(watched, after=after)

    async def _fail(self, seconds: float) -> AsyncGenerator[ItemChange, None]:
        for change in await self._changes_before(seconds):
            yield change

    async def _changes_before(self, seconds: float) -> Sequence[ItemChange]:
        await pass_time(seconds)
        raise StoreError("the store is away", retryable=True)

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        if self.is_gone:
            raise StoreError("the store is gone", retryable=True)
        return await super().list(prefix, limit=limit, after=after, stale=stale)


@pytest.fixture
async def backend() -> RestartedStore:
    backend = RestartedStore(clock=asyncio.get_running_loop().time)
    backend.watches = []
    return backend


async def test_quiet_watch_outlasts_each_outage(backend: RestartedStore) -> None:
    store = Store(backend)
    async with store, store.watch("a/", int) as changes:
        backend.watches = [3_600.0, 0.0, 3_600.0, 0.0, 60.0]
        await store.put("a/1", 1)
        assert (await anext(changes)).key == "a/1"


@pytest.mark.parametrize("watches", [[0.0] * 100, [3_600.0, 10.0, 10.0]])
async def test_store_that_stays_away_is_reported(backend: RestartedStore, watches: list[float]) -> None:
    store = Store(backend)
    async with store, store.watch("a/", int) as changes:
        backend.watches = watches
        backend.is_gone = True
        await store.put("a/1", 1)
        with pytest.raises(StoreError, match="the store is (away|gone)"):
            await anext(changes)


class ProgressStore(LocalStore):
    """A store that reports how far its watches reached, and whose first watches then fail."""

    #: What each watch yields before it fails.
    watches: list[list[ItemChange | int]]
    afters: list[int | None]

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        self.afters.append(after)
        return ItemWatch(self._told(self.watches.pop(0)))

    async def _told(self, found: list[ItemChange | int]) -> AsyncGenerator[ItemChange | int, None]:
        for one in found:
            yield one
        raise StoreError("the store is away", retryable=True)


async def test_watch_resumes_after_revisions_without_changes() -> None:
    def change(key: str, revision: int) -> ItemChange:
        return ItemChange(key, revision, None)

    async with ProgressStore() as backend:
        backend.afters = []
        backend.watches = [
            [5, 7],
            [change("a/1", 9)],
            # Of revision 9 the watch had shown one key alone.
            [change("a/1", 9), change("a/2", 9), 9, 20],
            [19, change("a/1", 21)],
        ]
        changes = ItemChanges(backend, "a/", 3)
        found: list[ItemChange] = []
        while backend.watches or len(found) < 3:
            try:
                found.append(await changes.next())
            except StoreError:
                continue
        await changes.close()
        assert [(one.key, one.revision) for one in found] == [("a/1", 9), ("a/2", 9), ("a/1", 21)]
        assert backend.afters == [3, 7, 8, 20]

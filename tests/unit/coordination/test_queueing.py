"""How a lock queues at a store that takes requests in order: it lists the items while its own one is made."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fastrpc.coordination import StoreServer, open_store
from fastrpc.coordination.locks import Lock
from fastrpc.errors import Status, StoreError
from fastrpc.stores.base import ItemPage, StoreLimits
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time


class OrderedStore(LocalStore):
    """A store in order, which counts its lists."""

    limits = StoreLimits(in_order=True)
    lists = 0

    #: Items of a page; None: as many as there are.
    page_items: int | None = None

    #: Whether the next list is answered before the item is made.
    is_list_early = False

    #: What the next list or item ends with.
    list_failure: StoreError | None = None
    put_failure: StoreError | None = None

    #: Whether lists and items have no answer.
    is_list_silent = False
    is_put_silent = False

    async def put(self, key: str, *given: Any, **named: Any) -> int:
        while self.is_list_early:
            await pass_time(0.01)
        if self.put_failure is not None:
            raise self.put_failure
        revision = await super().put(key, *given, **named)
        if self.is_put_silent:
            await asyncio.Event().wait()
        return revision

    async def list(self, *given: Any, **named: Any) -> ItemPage:
        self.lists += 1
        if self.is_list_silent:
            await asyncio.Event().wait()
        if self.list_failure is not None:
            raise self.list_failure
        if self.page_items is not None:
            named["limit"] = self.page_items
        page = await super().list(*given, **named)
        self.is_list_early = False
        return page


@pytest.fixture
async def store() -> AsyncIterator[OrderedStore]:
    async with OrderedStore(clock=asyncio.get_running_loop().time) as store:
        yield store


def lock_of(store: LocalStore) -> Lock:
    return Lock(store, "jobs", clock=asyncio.get_running_loop().time)


@pytest.mark.virtual_time
class TestInOrder:
    async def test_free_lock_is_held_after_one_list(self, store: OrderedStore) -> None:
        async with lock_of(store) as lock:
            assert lock.is_held
            assert (await store.get(lock._key)) is not None
        assert store.lists == 1

    async def test_waiter_looks_again_after_a_list_before_its_item(self, store: OrderedStore) -> None:
        async with lock_of(store) as first:
            store.lists = 0
            store.is_list_early = True
            waiting = asyncio.create_task(lock_of(store).__aenter__())
            await pass_time(1)
            assert store.lists == 2
            assert not waiting.done()
        second = await waiting
        assert second.is_held
        assert second.token > first.token
        await second.release()

    async def test_waiters_find_themselves_on_later_pages(self, store: OrderedStore) -> None:
        store.page_items = 1
        held = []

        async def hold() -> None:
            async with lock_of(store) as lock:
                held.append(lock.token)

        async with asyncio.TaskGroup() as group, lock_of(store):
            for _ in range(5):
                group.create_task(hold())
                await pass_time(1)
        assert held == sorted(held)
        assert len(held) == 5

    async def test_refused_item_is_told_though_the_list_has_no_answer(self, store: OrderedStore) -> None:
        store.put_failure = StoreError("refused", status=Status.PERMISSION_DENIED, processed="no")
        store.is_list_silent = True
        began = asyncio.get_running_loop().time()
        with pytest.raises(StoreError, match="refused"):
            await lock_of(store).__aenter__()
        assert asyncio.get_running_loop().time() == began
        assert store.figures()["leases"] == 0

    async def test_lock_whose_list_is_refused_leaves_nothing(self, store: OrderedStore) -> None:
        store.list_failure = StoreError("refused", status=Status.PERMISSION_DENIED, processed="no")
        with pytest.raises(StoreError, match="refused"):
            await lock_of(store).__aenter__()
        assert store.lists == 1
        assert (store.figures()["leases"], store.figures()["items"]) == (0, 0)

    @pytest.mark.parametrize("silent", ["is_put_silent", "is_list_silent"])
    async def test_cancelled_lock_leaves_nothing(self, store: OrderedStore, silent: str) -> None:
        setattr(store, silent, True)
        before = asyncio.all_tasks()
        entering = asyncio.create_task(lock_of(store).__aenter__())
        await pass_time(1)
        assert store.figures()["items"] == 1
        entering.cancel()
        await asyncio.wait([entering])
        assert entering.cancelled()
        assert (store.figures()["leases"], store.figures()["items"]) == (0, 0)
        assert asyncio.all_tasks() == before


async def test_lock_of_a_served_store_lists_once() -> None:
    lists = 0
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        backend: Any = store.backend
        listed = backend.list

        async def list_counted(*given: Any, **named: Any) -> ItemPage:
            nonlocal lists
            lists += 1
            page: ItemPage = await listed(*given, **named)
            return page

        backend.list = list_counted
        for number in range(1, 20):
            async with store.lock("jobs") as lock:
                assert lock.is_held
            assert lists == number

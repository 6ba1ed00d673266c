"""Locks of a store that many processes use, under deadlines of their callers."""

import asyncio
import itertools

import pytest

import fastrpc
from fastrpc.coordination import Store, StoreServer, open_store
from fastrpc.errors import Status, StoreError

pytestmark = pytest.mark.one_loop


async def test_lock_is_released_after_the_deadline_of_its_caller() -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        lock = await store.lock("a").__aenter__()
        with fastrpc.timeout(1e-9):
            await lock.__aexit__(None, None, None)
        assert await store.holder("a") is None


async def test_waiter_leaves_at_the_deadline_of_its_caller() -> None:
    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        async with store.lock("a"):
            with fastrpc.timeout(0.1), pytest.raises(StoreError) as caught:
                await store.lock("a").__aenter__()
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            holder = await store.holder("a")
            assert holder is not None
            assert holder.waiting == 0


async def test_lock_whose_release_is_cancelled_at_any_turn_is_free_at_once() -> None:
    async def hold(store: Store, entered: asyncio.Event) -> None:
        async with store.lock("a", ttl=60):
            entered.set()

    async with StoreServer("tcp://127.0.0.1:0") as server, open_store(server.url) as store:
        for turns in itertools.count():
            entered = asyncio.Event()
            holding = asyncio.create_task(hold(store, entered))
            await entered.wait()
            for _ in range(turns):
                await asyncio.sleep(0)
            holding.cancel()
            await asyncio.wait([holding])
            async with store.lock("a", wait=20):
                pass
            if not holding.cancelled():
                break
    assert turns > 1

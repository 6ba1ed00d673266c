"""A watch whose block ends while another task, or another thread, waits for its next change."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from fastrpc.coordination import Changes, StoreServer, open_store
from fastrpc.coordination import sync as blocking
from tests.support.deimos_vectors import deimos_server
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def memory() -> AsyncIterator[str]:
    yield "memory://left"


@asynccontextmanager
async def remote() -> AsyncIterator[str]:
    async with StoreServer("tcp://127.0.0.1:0") as server:
        yield server.url


@asynccontextmanager
async def deimos() -> AsyncIterator[str]:
    async with deimos_server() as server:
        yield f"deimos://127.0.0.1:{server.address.port}"


Server = Callable[[], AbstractAsyncContextManager[str]]


@pytest.fixture(params=[memory, remote, deimos])
def serving(request: pytest.FixtureRequest) -> Server:
    made: Server = request.param
    return made


async def keys_of(changes: Changes[bytes], taken: list[str]) -> list[str]:
    async for change in changes:
        taken.append(change.key)
    return taken


async def test_iteration_in_another_task_ends_with_the_block(serving: Server) -> None:
    async with serving() as url, open_store(url) as store:
        taken: list[str] = []
        async with store.watch("a/") as changes:
            iterating = asyncio.create_task(keys_of(changes, taken))
            await store.put("a/1", b"")
            await eventually(lambda: taken)
        assert iterating.done()
        assert await iterating == ["a/1"]
        assert not iterating.cancelling()
        # Nor does it continue later.
        assert await keys_of(changes, []) == []
        await store.put("a/2", b"")


async def test_cancellation_by_other_code_stays_a_cancellation(serving: Server) -> None:
    async with serving() as url, open_store(url) as store:
        taken: list[str] = []
        async with store.watch("a/") as changes:
            iterating = asyncio.create_task(keys_of(changes, taken))
            await store.put("a/1", b"")
            await eventually(lambda: taken)
            iterating.cancel()
        await asyncio.wait([iterating])
        assert iterating.cancelled()


async def test_second_iteration_of_a_watch_is_refused() -> None:
    async with open_store("memory://left") as store, store.watch("a/") as changes:
        iterating = asyncio.create_task(keys_of(changes, []))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task iterates"):
            await anext(changes)
    assert await iterating == []


async def test_iteration_in_another_thread_ends_with_the_block(serving: Server) -> None:
    taken: list[str] = []

    def iterate(changes: "blocking.SyncChanges[bytes]") -> None:
        taken.extend(change.key for change in changes)
        taken.append("end")

    def leave(url: str) -> None:
        with blocking.open_store(url) as store:
            with store.watch("a/") as changes:
                store.put("a/1", b"")
                assert next(changes).key == "a/1"
                iterating = threading.Thread(target=iterate, args=(changes,))
                iterating.start()
            iterating.join(20.0)
            assert taken == ["end"]

    async with serving() as url:
        await asyncio.to_thread(leave, "memory://left-by-a-thread" if url.startswith("memory") else url)

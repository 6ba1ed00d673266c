"""Parts close although code of others drops the cancellation of a task."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fastrpc import Client, Endpoint
from fastrpc.cancelling import cancelled
from fastrpc.coordination.mirror import Mirror
from fastrpc.coordination.settings import Following
from fastrpc.registries.base.snapshot import Snapshot
from fastrpc.stores.base import ItemChange
from fastrpc.stores.local import LocalStore
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class Dropping:
    """A wait that drops the first cancellation, as `asyncio.wait_for` of Python 3.11 may."""

    def __init__(self) -> None:
        self.waits = asyncio.Event()
        self.dropped = 0

    async def wait(self) -> None:
        while True:
            self.waits.set()
            try:
                await pass_time(60)
            except asyncio.CancelledError:
                if self.dropped:
                    raise
                self.dropped += 1


class DroppingStore(LocalStore):
    """A store whose watches drop a cancellation."""

    def __init__(self, dropping: Dropping) -> None:
        super().__init__()
        self._dropping = dropping

    async def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:  # type: ignore[override]
        await self._dropping.wait()
        async for change in super().watch(watched, after=after):
            yield change


class DroppingRegistry:
    """A registry of a program, whose watches drop a cancellation."""

    def __init__(self, dropping: Dropping) -> None:
        self._dropping = dropping

    async def watch(self, service: str) -> AsyncGenerator[Snapshot, None]:
        yield Snapshot(1, (Endpoint("tcp://127.0.0.1:9"),))
        await self._dropping.wait()

    async def aclose(self) -> None: ...


@asynccontextmanager
async def part(name: str, dropping: Dropping) -> AsyncIterator[None]:
    if name == "client":
        async with Client("shop", registry=DroppingRegistry(dropping)):
            yield
    elif name == "tasks":
        tasks = [asyncio.ensure_future(work) for work in (dropping.wait(), pass_time(60))]
        yield
        await cancelled(tasks)
        assert all(task.cancelled() for task in tasks)
    else:
        async with DroppingStore(dropping) as store:
            await store.put("a/b", b"1")
            async with Following(store, "a/b", int) if name == "settings" else Mirror(store, "a/", int):
                yield


@pytest.mark.parametrize("name", ["tasks", "settings", "mirror", "client"])
async def test_part_closes_although_its_task_drops_a_cancellation(name: str) -> None:
    dropping = Dropping()
    async with part(name, dropping):
        await dropping.waits.wait()
    assert dropping.dropped == 1

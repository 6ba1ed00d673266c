"""Closing a server takes every step, though it is cancelled, fails, or is asked for more than once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, ServerConfig, Timeouts
from fastrpc.registries import StaticRegistry
from tests.support.held_registry import HeldRegistry
from tests.support.raw_peer import raw_client
from tests.support.served import SCHEMES, address_of
from tests.support.waiting import eventually

#: Connections whose peers do not close are open for as long: longer than any test waits.
PATIENT = ServerConfig(timeouts=Timeouts(linger=60))

TEST_SECONDS = 20


@fastrpc.service("work")
class Work:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.inside = asyncio.Event()
        self.closing: asyncio.Task[None] | None = None

    @fastrpc.method
    async def hold(self) -> None:
        self.inside.set()
        await asyncio.Event().wait()

    @fastrpc.method
    async def close_the_server(self) -> None:
        await self.server.close()

    @fastrpc.method
    async def close_the_server_later(self) -> None:
        self.closing = asyncio.create_task(self.server.close())


class Serving:
    """A server with one source, and the objects that end with it."""

    def __init__(self, registry: StaticRegistry | None = None) -> None:
        self.server = Server(self._source, config=PATIENT, registry=registry)
        self.work = Work(self.server)
        self.is_entering = asyncio.Event()
        self.may_enter = asyncio.Event()
        self.may_enter.set()
        self.is_leaving = asyncio.Event()
        self.may_leave = asyncio.Event()
        self.may_leave.set()
        self.has_left = False
        self.failure: Exception | None = None
        self.closes_itself = False

    @contextlib.asynccontextmanager
    async def _source(self) -> AsyncIterator[list[Work]]:
        self.is_entering.set()
        await self.may_enter.wait()
        yield [self.work]
        self.is_leaving.set()
        if self.closes_itself:
            await self.server.close()
        await self.may_leave.wait()
        self.has_left = True
        if self.failure is not None:
            raise self.failure

    async def start(self, address: str = "tcp://127.0.0.1:0") -> str:
        bound = await self.server.listen(address)
        self.forever = asyncio.ensure_future(self.server.serve_forever())
        # It begins in this turn.
        await asyncio.sleep(0)
        return str(bound)

    async def ended(self) -> None:
        """Return once the server has ended."""
        async with asyncio.timeout(TEST_SECONDS):
            await self.forever
        assert self.has_left
        await eventually(lambda: self.server.stats()["live"]["connections"] == 0)


@pytest.mark.parametrize("times", ["once", "each turn"])
async def test_close_that_is_cancelled_ends_connections_and_leaves_sources(times: str) -> None:
    serving = Serving()
    async with raw_client(await serving.start()) as peer, asyncio.timeout(TEST_SECONDS):
        await eventually(lambda: serving.server.stats()["live"]["connections"] == 1)
        closing = asyncio.ensure_future(serving.server.close())
        if times == "once":
            # It waits for the peer, which does not close.
            await peer.ended()
            closing.cancel()
        else:
            while not closing.done():
                await asyncio.sleep(0)
                closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        if times == "each turn":
            # The exit of the source was cancelled as well, as any exit would be.
            await peer.ended()
            await serving.forever
        else:
            await serving.ended()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_handler_that_closes_its_server_ends_it(scheme: str) -> None:
    serving = Serving()
    with address_of(scheme) as address:
        async with Client(await serving.start(address)) as client:
            with pytest.raises(fastrpc.FastRPCError, match="closed"):
                await client.call(Work.close_the_server)
            await serving.ended()


async def test_task_of_a_handler_that_closes_the_server_can_be_cancelled() -> None:
    serving = Serving()
    address = await serving.start()
    async with raw_client(address) as peer, asyncio.timeout(TEST_SECONDS):
        async with Client(address) as client:
            await client.call(Work.close_the_server_later)
        await peer.ended()
        assert serving.work.closing is not None
        # It waits for the peer, which does not close.
        serving.work.closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving.work.closing
        await serving.ended()


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_drain_that_is_cancelled_at_the_end_of_a_with_block_closes_the_server(scheme: str) -> None:
    serving = Serving()
    is_over = asyncio.Event()

    async def serve() -> None:
        async with serving.server:
            await is_over.wait()

    block = asyncio.ensure_future(serve())
    with address_of(scheme) as address:
        async with Client(await serving.start(address)) as client:
            call = asyncio.ensure_future(client.with_options(timeout=60).call(Work.hold))
            await serving.work.inside.wait()
            is_over.set()
            await eventually(lambda: serving.server.is_draining)
            block.cancel()
            with pytest.raises(asyncio.CancelledError):
                await block
            with pytest.raises(fastrpc.FastRPCError):
                await call
            await serving.ended()


async def test_source_that_fails_when_it_is_left_does_not_keep_the_server_from_ending() -> None:
    serving = Serving()
    serving.failure = OSError("no route to the database")
    await serving.start()
    with pytest.raises(OSError, match="no route to the database"):
        await serving.server.close()
    await serving.ended()


async def test_task_that_a_source_awaits_at_its_end_may_close_the_server_again() -> None:
    serving = Serving()
    await serving.start()
    serving.may_leave.clear()
    first = asyncio.ensure_future(serving.server.close())
    async with asyncio.timeout(TEST_SECONDS):
        await serving.is_leaving.wait()
        await serving.server.close()
        serving.may_leave.set()
        await first
    await serving.ended()


async def test_source_may_close_its_server_while_it_is_left() -> None:
    serving = Serving()
    serving.closes_itself = True
    await serving.start()
    async with asyncio.timeout(TEST_SECONDS):
        await serving.server.close()
    await serving.ended()


async def test_cancelling_a_close_lets_the_withdrawal_continue() -> None:
    registry = HeldRegistry()
    serving = Serving(registry)
    await serving.start()
    closing = asyncio.ensure_future(serving.server.close())
    async with asyncio.timeout(TEST_SECONDS):
        await registry.is_asked.wait()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await serving.ended()
        registry.may_leave.set()
        await registry.has_left.wait()


async def test_server_that_is_closed_while_it_enters_its_sources_leaves_them() -> None:
    serving = Serving()
    serving.may_enter.clear()
    starting = asyncio.ensure_future(serving.server.start())
    async with asyncio.timeout(TEST_SECONDS):
        await serving.is_entering.wait()
        await serving.server.close()
        serving.may_enter.set()
        with pytest.raises(RuntimeError, match="this Server is closed"):
            await starting
    assert serving.has_left


async def test_a_source_sees_the_error_of_a_later_one_that_does_not_open() -> None:
    seen: list[BaseException] = []

    @contextlib.asynccontextmanager
    async def transaction() -> AsyncIterator[list[Any]]:
        try:
            yield []
        except OSError as error:
            seen.append(error)
            raise

    def broken() -> Any:
        raise OSError("no route to the database")

    with pytest.raises(OSError, match="no route to the database") as caught:
        await fastrpc.Server(transaction(), broken).start()
    assert seen == [caught.value]

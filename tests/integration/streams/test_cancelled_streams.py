"""Streams that are opened and cancelled again and again: honest callers continue, floods are closed."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import Admission, CallError, Client, Limits, ServerConfig, Status, method, service
from tests.support.feed import Feed
from tests.support.linked_streams import LinkedStreams
from tests.support.raw_streams import SERVER_STREAM, stream_peer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Goaway, Request
from tests.support.wire_layout import Reason

CANCELLED, NOT_FOUND = 1, 5
MILLISECOND = 1_000_000
WINDOW = 65_536


class Callers:
    """Opens streams of two connections and gives them up, while time stands still: no budget is refilled."""

    def __init__(self, calls: int) -> None:
        self.link = LinkedStreams(calls=calls)
        self.cancels = 0

    def open_and_cancel(self, count: int) -> list[Any]:
        """Return the calls for which the server got no CANCEL."""
        pairs = [self.link.open(with_loop=False) for _ in range(count)]
        for near, far in pairs:
            far.send_message(bytes(100))
            near.end()
            self.link.client.cancel(near.call)
        self.link.carry()
        untold = []
        for _, far in pairs:
            if self.link.server.state_of(far.call.id) == "cancelled":
                self.cancels += 1
                self.end(far)
            else:
                untold.append(far)
        self.link.carry()
        return untold

    def end(self, far: Any) -> None:
        far.end()
        self.link.server.respond_error(far.call, CANCELLED)


def test_caller_keeps_cancels_back_for_which_there_may_be_no_room() -> None:
    callers = Callers(calls=100)
    untold: list[Any] = []
    while len(untold) < 60:
        untold += callers.open_and_cancel(20)
        assert not callers.link.server.is_closed
    # PROTOCOL.md, "Budgets": 1,000 + 4 * MAX_CALLS; of them MAX_CALLS + 500 stay in reserve.
    assert callers.cancels == 1_000 + 400 - 600
    # The calls without a CANCEL at the server continue, and get no credit for unread messages.
    assert all(callers.link.server.state_of(far.call.id) != "cancelled" for far in untold)
    # Later their CANCELs are sent.
    for connection in (callers.link.client, callers.link.server):
        connection.now += 10 * MILLISECOND
    callers.link.carry()
    assert all(callers.link.server.state_of(far.call.id) == "cancelled" for far in untold)
    for far in untold:
        callers.end(far)
    callers.link.carry()
    assert callers.link.client.calls == callers.link.server.calls == []
    assert not callers.link.client.is_closed


def test_stream_abandoned_without_a_cancel_fills_its_window_and_no_more() -> None:
    callers = Callers(calls=100)
    while not (untold := callers.open_and_cancel(20)):
        pass
    far = untold[0]
    while not far.would_wait:
        far.send_message(bytes(1_000))
    callers.link.carry()
    assert far.would_wait
    assert far.credit[0] < 1_016
    # Once it has ended by itself no CANCEL is sent.
    far.end()
    callers.link.server.respond_error(far.call, NOT_FOUND)
    callers.link.carry()
    assert far.call.id not in callers.link.client.calls
    assert not callers.link.client.is_closed
    assert not callers.link.server.is_closed


@pytest.mark.one_loop
async def test_client_that_opens_and_leaves_streams_at_full_speed_keeps_its_connection(scale: Any) -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=50, streams=50))
    async with served(Feed, scheme="memory", config=config) as target, Client(target) as client:
        await client.ready(timeout=10)
        sessions = list(client._pool.connections)

        async def leave(rounds: int) -> None:
            for _ in range(rounds):
                async with client.stream(Feed.endless, 10) as blocks:
                    await blocks.receive()

        await asyncio.gather(*(leave(scale(100)) for _ in range(20)))
        assert client._pool.connections == sessions
        assert await client.call(Feed.unary, 1) == 1
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


@service("timed")
class Timed:
    """Notes when its generators were ended."""

    def __init__(self) -> None:
        self.told: list[float] = []
        self.may_fail = asyncio.Event()

    @method
    async def waiting(self) -> AsyncIterator[int]:
        try:
            yield 1
            await self.may_fail.wait()
            raise CallError(Status.ABORTED, repr(time.monotonic()))
        finally:
            self.told.append(time.monotonic())

    @method
    async def yielding(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1_000)
        finally:
            self.told.append(time.monotonic())

    @method
    def in_thread(self) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1_000)
        finally:
            self.told.append(time.monotonic())

    @method
    async def receiving(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        try:
            async for number in numbers:
                yield number
        finally:
            self.told.append(time.monotonic())


@pytest.mark.measures
@pytest.mark.parametrize("name", ["waiting", "yielding", "in_thread", "receiving"])
async def test_handlers_see_a_cancellation_within_100_ms(name: str) -> None:
    timed = Timed()
    config = ServerConfig(admission=Admission(handler_threads=100))
    async with served(timed, scheme="tcp", config=config) as target, Client(target) as client:
        verb = client.open if name == "receiving" else client.stream
        streams: list[Any] = [verb(getattr(Timed, name)) for _ in range(50)]
        for stream in streams:
            if name == "receiving":
                await stream.send(1)
            await stream.receive()
        cancelled = time.monotonic()
        for stream in streams:
            stream.cancel()
        await eventually(lambda: len(timed.told) == len(streams))
        assert max(timed.told) - cancelled <= 0.1


@pytest.mark.measures
async def test_callers_see_the_end_of_a_handler_within_100_ms() -> None:
    timed = Timed()
    async with served(timed, scheme="tcp") as target, Client(target) as client:
        streams = [client.stream(Timed.waiting) for _ in range(50)]
        for stream in streams:
            assert await stream.receive() == 1
        seen: list[float] = []

        async def read(stream: Any) -> None:
            with pytest.raises(CallError) as failed:
                await stream.receive()
            seen.append(time.monotonic() - float(failed.value.message))

        readers = [asyncio.ensure_future(read(stream)) for stream in streams]
        await asyncio.sleep(0)
        timed.may_fail.set()
        await asyncio.gather(*readers)
        assert max(seen) <= 0.1


@pytest.mark.one_loop
@pytest.mark.parametrize("way", ["server", "client"])
async def test_producer_is_suspended_while_nobody_reads(way: str) -> None:
    """A gibibyte is offered; only one window of it is produced."""
    feed, offered = Feed(), 0
    async with served(feed, scheme="tcp") as target, Client(target) as client:
        if way == "server":
            stream = client.stream(Feed.endless, 64 * 1024)
            await stream.headers()
        else:
            stream = client.open(Feed.unread)

            async def offer() -> None:
                nonlocal offered
                for _ in range(16 * 1024):
                    await stream.send(bytes(64 * 1024))
                    offered += 1

            producing = asyncio.ensure_future(offer())
        # Other calls run meanwhile, each in many turns of the loop.
        for number in range(200):
            assert await client.call(Feed.unary, number) == number
        assert 0 < (feed.yielded if way == "server" else offered) <= 4
        stream.cancel()
        if way == "client":
            with pytest.raises(CallError):
                await producing
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


@pytest.mark.one_loop
@pytest.mark.measures
async def test_flood_of_cancelled_streams_is_closed() -> None:
    """A flood is more than 10,000 in a second; test_callee_states.py has one for a clock that stands."""
    config = ServerConfig(limits=Limits(concurrent_calls=10, streams=10))
    flood = b"".join(
        Request(call, b"feed.awaited", b"\x90", flags=SERVER_STREAM, codec=1).encode() + Cancel(call).encode()
        for call in range(1, 12_001, 2)
    )
    async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
        peer.peer.send(flood)
        assert (await peer.peer.next(Goaway)).reason == Reason.CALM_DOWN

"""Streams that are opened and cancelled again and again: honest callers go on, floods are closed."""

import asyncio
from typing import Any

import pytest

from fastrpc import Client, Limits, ServerConfig
from tests.support.feed import Feed
from tests.support.linked_streams import LinkedStreams
from tests.support.raw_streams import stream_peer
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.wire_frames import Cancel, Goaway
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
        """Return the calls that the server was not told to end."""
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
    # PROTOCOL.md, "Budgets": 1,000 + 4 * MAX_CALLS, of which MAX_CALLS + 500 stay in reserve.
    assert callers.cancels == 1_000 + 400 - 600
    # The calls that the server was not told of go on, and get no credit for what nobody reads.
    assert all(callers.link.server.state_of(far.call.id) != "cancelled" for far in untold)
    # As time goes on they are told.
    for connection in (callers.link.client, callers.link.server):
        connection.now += 10 * MILLISECOND
    callers.link.carry()
    assert all(callers.link.server.state_of(far.call.id) == "cancelled" for far in untold)
    for far in untold:
        callers.end(far)
    callers.link.carry()
    assert callers.link.client.calls == callers.link.server.calls == []
    assert not callers.link.client.is_closed


def test_stream_given_up_and_not_told_fills_its_window_and_no_more() -> None:
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
async def test_client_that_opens_and_leaves_streams_as_fast_as_it_can_goes_on(scale: Any) -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=50, streams=50))
    async with served(Feed, scheme="memory", config=config) as target, Client(target) as client:
        await client.ready(timeout=10)
        sessions = list(client._pool.sessions)

        async def leave(rounds: int) -> None:
            for _ in range(rounds):
                async with client.stream(Feed.endless, 10) as blocks:
                    await blocks.receive()

        await asyncio.gather(*(leave(scale(100)) for _ in range(20)))
        assert client._pool.sessions == sessions
        assert await client.call(Feed.unary, 1) == 1
        await eventually(lambda: target.server.stats()["live"]["calls"] == 0)


@pytest.mark.one_loop
async def test_flood_of_cancelled_streams_is_closed() -> None:
    config = ServerConfig(limits=Limits(concurrent_calls=10, streams=10))
    async with served(Feed, scheme="tcp", config=config) as target, stream_peer(target) as peer:
        told = asyncio.ensure_future(peer.peer.next(Goaway))
        async with asyncio.timeout(30):
            while not told.done():
                for _ in range(500):
                    peer.peer.send(Cancel(peer.open("feed.awaited")).encode())
                await asyncio.sleep(0)
        assert (await told).reason == Reason.CALM_DOWN

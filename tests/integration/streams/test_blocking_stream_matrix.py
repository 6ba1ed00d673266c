"""Every kind of stream of a SyncClient, on every transport and with a server on either loop."""

import asyncio
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from fastrpc import StreamEndedError, SyncClient
from tests.conftest import SCALE
from tests.support.feed import Feed
from tests.support.threaded_server import ThreadedServer

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

#: A normal run has tcp on both loops and the others on one.
PLACES = [("tcp", "asyncio"), ("tcp", "uvloop"), ("unix", "uvloop"), ("memory", "uvloop")]
if SCALE > 1:
    PLACES += [("unix", "asyncio"), ("memory", "asyncio")]

SIZES = [200_000, 0, 70_000, 1_000_000]

numbers = itertools.count()


class Pair:
    """A client, and the server behind it."""

    def __init__(self, client: SyncClient, server: ThreadedServer, feed: Feed) -> None:
        self.client, self.server, self.feed = client, server, feed

    def rest(self) -> None:
        """Return once neither side has anything under way."""
        while self.client.stats()["live"]["calls"] or self.server.server.stats()["live"]["calls"]:
            # A call reads what is unread here, and is a turn of the server.
            self.client.call("fastrpc.health.check")
        for session in list(self.server.server._gate.sessions):  # type: ignore[union-attr]
            assert session.assembler.stream_pool_left == 33_554_432


@pytest.fixture(params=PLACES, ids=lambda place: "-".join(place))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    scheme, loop = request.param
    listen = {
        "tcp": "tcp://127.0.0.1:0",
        "unix": f"unix://{tmp_path / 'socket'}",
        "memory": f"memory://blocking-{next(numbers)}",
    }[scheme]
    feeds: list[Feed] = []

    def make() -> Feed:
        # On the loop that its events belong to.
        feeds.append(Feed())
        return feeds[0]

    with ThreadedServer(make, make_loop=LOOPS[loop], listen=listen) as server:
        with SyncClient(server.address) as client:
            pair = Pair(client, server, feeds[0])
            yield pair
            pair.rest()


@pytest.mark.parametrize("method", [Feed.count, Feed.lines, Feed.inline], ids=["async", "def", "inline"])
def test_server_stream(pair: Pair, method: Any) -> None:
    with pair.client.stream(method, 5_000) as found:
        assert list(found) == list(range(5_000))


def test_client_stream(pair: Pair) -> None:
    assert pair.client.call(Feed.total, range(5_000), 7) == 7 + sum(range(5_000))


def test_both_ways(pair: Pair) -> None:
    with pair.client.stream(Feed.scale, range(5_000), 3) as found:
        assert list(found) == [3 * number for number in range(5_000)]


def test_both_ways_by_hand(pair: Pair) -> None:
    with pair.client.open(Feed.scale, 3) as stream:
        for number in range(100):
            stream.send(number)
            assert stream.receive() == 3 * number
        stream.end()
        with pytest.raises(StreamEndedError):
            stream.receive()


def test_messages_over_the_window(pair: Pair) -> None:
    with pair.client.stream(Feed.sized, SIZES) as blocks:
        assert [len(block) for block in blocks] == SIZES
    with pair.client.stream(Feed.mirror, [bytes(size) for size in SIZES]) as blocks:
        assert [len(block) for block in blocks] == SIZES


@pytest.mark.parametrize("method", [Feed.endless, Feed.blocks], ids=["async", "def"])
def test_leaving_ends_the_generator(pair: Pair, method: Any) -> None:
    with pair.client.stream(method, 100) as blocks:
        for _ in blocks:
            break
    pair.rest()
    assert pair.feed.ends[0] == "CancelledError"


def test_many_threads_share_a_connection(pair: Pair) -> None:
    found: list[list[int]] = []

    def read() -> None:
        with pair.client.stream(Feed.count, 500) as messages:
            found.append(list(messages))

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [list(range(500))] * 8

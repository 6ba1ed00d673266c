"""`stream`, `open` and streamed input of a SyncClient: plain iterators, and their results."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fastrpc import (
    CallError,
    ClientConfig,
    FastRPCError,
    Limits,
    Status,
    SyncClient,
    SyncStream,
)
from fastrpc.errors import EncodeError
from fastrpc.testing import serving
from tests.support.blocking_feed import Feed, calling, until
from tests.support.feed import Feed as EveryKind


@pytest.fixture
def feed() -> Feed:
    return Feed()


@pytest.fixture
def client(feed: Feed) -> Iterator[SyncClient]:
    with calling(feed) as client:
        yield client
        until(client, lambda: not client.stats()["live"]["calls"])
        assert client.stats()["buffered"] == 0
        assert [session.users for session in client._pool.connections] == [0]


def test_a_stream_is_iterated_without_a_block(client: SyncClient) -> None:
    assert list(client.stream(Feed.count, 3)) == [0, 1, 2]
    assert list(client.bind(Feed).lines("a\nb")) == ["a", "b"]


@pytest.mark.measures
@pytest.mark.parametrize("size", [65_536, 200_000])
def test_large_messages_both_ways_follow_each_other_at_once(size: int) -> None:
    # Looking for the end of the connection after each of them took 5 ms.
    with serving(EveryKind, address="tcp://127.0.0.1:0") as target, SyncClient(target) as client:
        with client.stream(EveryKind.mirror, (bytes(size) for _ in range(300))) as blocks:
            next(blocks)
            began = time.monotonic()
            assert sum(1 for _ in blocks) == 299
            assert time.monotonic() - began < 299 * 0.0025


def test_an_exception_in_the_iterable_cancels_the_call_and_is_raised(feed: Feed, client: SyncClient) -> None:
    def failing() -> Iterator[Any]:
        yield 1
        raise LookupError("no more of them")

    with pytest.raises(LookupError, match="no more of them"):
        client.call(Feed.total, failing())
    with pytest.raises(LookupError, match="no more of them"):
        list(client.stream("feed.echo", (str(number) for number in failing())))
    with pytest.raises(EncodeError):
        client.call(Feed.total, [object()])
    until(client, lambda: feed.left.count("total") == feed.started["total"])


@pytest.mark.parametrize("leave", ["block", "close", "cancel", "exception"])
def test_leaving_early_cancels_the_handler(feed: Feed, client: SyncClient, leave: str) -> None:
    if leave == "block":
        with client.stream(Feed.watch) as messages:
            assert messages.receive() == "first"
    elif leave == "exception":
        with pytest.raises(ZeroDivisionError), client.stream(Feed.watch) as messages:
            raise ZeroDivisionError
    else:
        messages = client.stream(Feed.watch)
        assert messages.receive() == "first"
        getattr(messages, leave)()
    until(client, lambda: len(feed.left) == feed.started["watch"])
    with pytest.raises(CallError) as left:
        messages.receive()
    assert left.value.status is Status.CANCELLED


def test_only_plain_iterables_are_sent(client: SyncClient) -> None:
    with pytest.raises(TypeError, match="plain iterables"):
        client.stream(Feed.echo, later())  # type: ignore[arg-type]


async def later() -> AsyncIterator[str]:
    yield "a"


def test_a_stream_is_no_asynchronous_one(client: SyncClient) -> None:
    stream: Any = client.stream(Feed.count, 3)
    assert isinstance(stream, SyncStream)
    with pytest.raises(TypeError, match="`for`"):
        aiter(stream)


def test_a_consumer_that_reads_nothing_holds_one_window() -> None:
    config = ClientConfig(limits=Limits(stream_window_bytes=65_536))
    feed = EveryKind()
    with serving(feed) as target, SyncClient(target, config=config) as client:
        with client.stream(EveryKind.endless, 1_000) as blocks:
            assert len(blocks.receive()) == 1_000
            until(client, lambda: blocks.waiting > 60)
            # Turns of the server in which it would continue, if it could.
            yielded = feed.yielded
            for _ in range(100):
                client.call(EveryKind.unary, None)
            assert blocks.waiting <= 66
            assert feed.yielded <= yielded + 66
            assert sum(len(blocks.receive()) for _ in range(1_000)) == 1_000_000
        until(client, lambda: feed.ends)
        assert feed.ends == ["CancelledError"]


def test_a_server_that_reads_nothing_stops_the_sender(feed: Feed) -> None:
    config = ClientConfig()
    with calling(feed, config=config) as client, client.with_options(timeout=0.3).open(Feed.unread) as blocks:
        sent = 0
        with pytest.raises(FastRPCError) as overdue:
            for _ in range(1_000):
                blocks.send(bytes(65_536))
                sent += 65_536
        assert overdue.value.status is Status.DEADLINE_EXCEEDED
        assert sent < 8_000_000

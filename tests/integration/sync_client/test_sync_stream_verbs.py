"""`stream`, `open` and streamed input of a SyncClient: plain iterators, and what comes back."""

import gc
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import (
    CallError,
    ClientConfig,
    FastRPCError,
    Limits,
    Reply,
    Status,
    StreamEndedError,
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
        assert [session.users for session in client._pool.sessions] == [0]


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("method", [EveryKind.count, EveryKind.lines, EveryKind.inline, "feed.count"])
def test_messages_come_in_order_and_the_loop_ends(scheme: str, method: Any, tmp_path: Path) -> None:
    address = "tcp://127.0.0.1:0" if scheme == "tcp" else f"unix://{tmp_path / 'socket'}"
    with serving(EveryKind, address=address) as target, SyncClient(target) as client:
        with client.stream(method, 5_000) as numbers:
            assert list(numbers) == list(range(5_000))
            assert list(numbers) == []
        assert numbers.reply.attempts == 1


def test_a_stream_may_have_no_message(client: SyncClient) -> None:
    with client.stream(Feed.count, 0) as numbers:
        assert list(numbers) == []


def test_a_stream_is_iterated_without_a_block(client: SyncClient) -> None:
    assert list(client.stream(Feed.count, 3)) == [0, 1, 2]
    assert list(client.bind(Feed).lines("a\nb")) == ["a", "b"]


@pytest.mark.measures
@pytest.mark.parametrize("size", [65_536, 200_000])
def test_large_messages_both_ways_follow_each_other_at_once(size: int) -> None:
    # Looking for the end of the connection behind each of them took 5 ms.
    with serving(EveryKind, address="tcp://127.0.0.1:0") as target, SyncClient(target) as client:
        with client.stream(EveryKind.mirror, (bytes(size) for _ in range(300))) as blocks:
            next(blocks)
            began = time.monotonic()
            assert sum(1 for _ in blocks) == 299
            assert time.monotonic() - began < 299 * 0.0025


def test_receive_many_returns_what_is_there_and_never_nothing(client: SyncClient) -> None:
    with client.stream(Feed.count, 1_000) as numbers:
        assert numbers.receive_many(limit=1) == [0]
        rest: list[int] = []
        with pytest.raises(StreamEndedError):
            while True:
                batch = numbers.receive_many()
                assert batch
                rest += batch
        assert rest == list(range(1, 1_000))
        with pytest.raises(ValueError, match="limit is 0"):
            numbers.receive_many(limit=0)


@pytest.mark.parametrize("messages", [[1, 2, 3], range(1, 4), (n for n in (1, 2, 3)), {1: 0, 2: 0, 3: 0}])
def test_call_sends_any_iterable_and_returns_the_answer(client: SyncClient, messages: Any) -> None:
    assert client.call(Feed.total, messages) == 6


def test_streamed_input_goes_with_other_arguments_and_by_name(client: SyncClient) -> None:
    assert client.call(Feed.scaled, [1, 2], 10, offset=5) == 35  # type: ignore[call-overload]
    assert client.call("feed.scaled", iter([1, 2]), 10) == 30
    reply = client.request(Feed.total, [1, 2])
    assert isinstance(reply, Reply)
    assert reply.value == 3


def test_input_is_sent_while_answers_are_read() -> None:
    sizes = [200_000, 0, 70_000, 1_000_000]
    with serving(EveryKind) as target, SyncClient(target) as client:
        with client.stream(EveryKind.scale, range(20_000), 3) as numbers:
            assert list(numbers) == [3 * number for number in range(20_000)]
        with client.stream(EveryKind.mirror, (bytes(size) for size in sizes)) as blocks:
            assert [len(block) for block in blocks] == sizes
        assert client.call(EveryKind.total, range(20_000), 7) == 7 + sum(range(20_000))
        assert client.stats()["live"]["calls"] == 0


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


def test_the_iterable_is_closed_when_the_server_answers_early(client: SyncClient) -> None:
    closed: list[bool] = []

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    assert client.call(Feed.first, endless()) == 1
    assert closed == [True]


def test_messages_are_sent_and_received_by_hand(client: SyncClient) -> None:
    with client.open(Feed.echo) as echo:
        for text in "abc":
            echo.send(text)
            assert echo.receive() == text.upper()
        echo.end()
        echo.end()
        with pytest.raises(RuntimeError, match="ended"):
            echo.send("d")
        for _ in range(2):
            with pytest.raises(StreamEndedError):
                echo.receive()
    with client.open(Feed.total) as total:
        total.send(1)
        total.send(2)
        total.end()
        assert total.receive() == 3
        assert total.reply.value == 3
        with pytest.raises(StreamEndedError):
            total.receive()


def test_an_early_answer_ends_sending(client: SyncClient) -> None:
    with client.open(Feed.first) as first:
        first.send(7)
        assert first.receive() == 7
        with pytest.raises(StreamEndedError):
            first.send(8)


def test_messages_come_before_the_error_of_the_handler(client: SyncClient) -> None:
    with client.stream(Feed.broken, 2) as numbers:
        assert [numbers.receive(), numbers.receive()] == [0, 1]
        for receive in (numbers.receive, numbers.receive_many, numbers.__next__):
            with pytest.raises(CallError) as refused:
                receive()
            assert refused.value.status is Status.NOT_FOUND
            assert refused.value.details == {"at": 2}
        with pytest.raises(CallError):
            _ = numbers.reply


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


def test_a_stream_that_nobody_holds_is_cancelled(feed: Feed, client: SyncClient) -> None:
    messages = client.stream(Feed.watch)
    assert messages.receive() == "first"
    del messages
    gc.collect()
    until(client, lambda: feed.left == ["watch"])


def test_metadata_comes_first_and_last() -> None:
    with serving(EveryKind) as target, SyncClient(target) as client:
        with client.stream(EveryKind.described) as texts:
            with pytest.raises(LookupError, match="ended"):
                _ = texts.reply
            assert texts.headers()["first"] == "1"
            assert texts.metadata["first"] == "1"
            assert list(texts) == ["a"]
            assert texts.reply.metadata["last"] == "2"
        with client.stream(EveryKind.early) as texts:
            assert texts.headers()["first"] == "1"
            with pytest.raises(LookupError):
                _ = texts.reply


def test_metadata_of_a_stream_that_has_not_begun_is_a_lookup_error(client: SyncClient) -> None:
    with pytest.raises(LookupError, match="headers"):
        _ = client.stream(Feed.count, 3).metadata


@pytest.mark.parametrize(
    ("use", "advice"),
    [
        (lambda client: client.call(Feed.count, 3), r"client\.stream"),
        (lambda client: client.stream(Feed.latest), r"client\.call"),
        (lambda client: client.open(Feed.count, 3), r"client\.stream"),
        (lambda client: client.notify(Feed.total, [1]), r"client\.call"),
        (lambda client: client.call_many(Feed.total, [([1],)]), r"client\.call"),
        (lambda client: client.call(Feed.total, "text"), "iterable"),
        (lambda client: client.stream(Feed.echo, later()), "plain iterables"),
    ],
)
def test_the_wrong_verb_names_the_right_one(client: SyncClient, use: Any, advice: str) -> None:
    with pytest.raises(TypeError, match=advice):
        use(client)


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
            # Turns of the server in which it would go on, if it could.
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

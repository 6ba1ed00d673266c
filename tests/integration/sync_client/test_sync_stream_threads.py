"""Streams of a SyncClient in several threads, in the child of a fork, and in time."""

import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Call,
    CallError,
    ClientConfig,
    ConnectionLostError,
    DeadlineExceededError,
    Proceed,
    Status,
    SyncClient,
    SyncStream,
    Timeouts,
)
from fastrpc.testing import serving
from tests.integration.streams.test_stream_attempts import Flaky
from tests.support.blocking_feed import Feed, calling, until
from tests.support.feed import Feed as EveryKind
from tests.support.forking import in_child


def test_one_thread_sends_while_another_receives() -> None:
    count = 20_000
    with serving(EveryKind) as target, SyncClient(target) as client:
        with client.open(EveryKind.mirror) as values, ThreadPoolExecutor(1) as pool:

            def send() -> None:
                for number in range(count):
                    values.send(number)
                values.end()

            sender = pool.submit(send)
            assert list(values) == list(range(count))
            sender.result(10)
        assert client.stats()["live"]["calls"] == 0


def test_many_threads_stream_over_one_client() -> None:
    with serving(EveryKind) as target, SyncClient(target) as client, ThreadPoolExecutor(8) as pool:

        def use(number: int) -> bool:
            if number % 3 == 0:
                return list(client.stream(EveryKind.count, 500)) == list(range(500))
            if number % 3 == 1:
                return list(client.stream(EveryKind.scale, range(500), 2)) == list(range(0, 1_000, 2))
            return bool(client.call(EveryKind.unary, number) == number)

        assert all(pool.map(use, range(120)))
        assert client.stats()["live"]["calls"] == 0


def test_a_second_receiver_and_a_second_sender_are_refused() -> None:
    feed = Feed()
    with calling(feed) as client, ThreadPoolExecutor(1) as pool:
        with client.stream(Feed.silent) as messages:
            waiting = pool.submit(messages.receive)
            until(client, lambda: messages._is_waited_for)
            with pytest.raises(RuntimeError, match="one receiver"):
                messages.receive()
            messages.cancel()
            with pytest.raises(CallError) as cancelled:
                waiting.result(10)
            assert cancelled.value.status is Status.CANCELLED
        with client.open(Feed.unread) as blocks:

            def fill() -> None:
                while True:
                    blocks.send(bytes(60_000))

            filling = pool.submit(fill)
            until(client, lambda: blocks._is_waited_for)
            with pytest.raises(RuntimeError, match="one sender"):
                blocks.send(b"")
            blocks.cancel()
            with pytest.raises(CallError):
                filling.result(10)


def test_a_stream_that_is_cancelled_while_another_thread_begins_it_is_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    has_begun, has_looked = threading.Event(), threading.Event()
    cancel_attempt = SyncStream._cancel_attempt

    def noted(stream: Any, error: BaseException) -> None:
        cancel_attempt(stream, error)
        has_looked.set()

    async def slow(call: Call, proceed: Proceed) -> Any:
        has_begun.set()
        assert has_looked.wait(20)
        return await proceed(call)

    monkeypatch.setattr(SyncStream, "_cancel_attempt", noted)
    feed = Feed()
    with calling(feed, interceptors=[slow]) as client, ThreadPoolExecutor(1) as pool:
        messages = client.stream(Feed.watch)
        reading = pool.submit(list, messages)
        assert has_begun.wait(20)
        messages.cancel()
        with pytest.raises(CallError) as cancelled:
            reading.result(20)
        assert cancelled.value.status is Status.CANCELLED
        until(client, lambda: not client.stats()["live"]["calls"] and len(feed.left) == feed.started["watch"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_stream_of_the_parent_ends_in_the_child_of_a_fork_and_continues_in_the_parent() -> None:
    feed = EveryKind()
    with serving(feed) as target, SyncClient(target) as client:
        unbegun = client.stream(EveryKind.count, 3)
        with client.stream(EveryKind.paced) as numbers:
            assert numbers.receive() == 1

            def child() -> None:
                with pytest.raises(ConnectionLostError) as lost:
                    numbers.receive()
                assert lost.value.processed == "unknown"
                numbers.close()
                assert list(unbegun) == [0, 1, 2]
                assert list(client.stream(EveryKind.count, 3)) == [0, 1, 2]

            in_child(child)
            feed.thread_goes_on.set()
            assert list(numbers) == [2]


def test_a_timeout_covers_the_whole_stream() -> None:
    feed = Feed()
    with calling(feed) as client:
        with client.with_options(timeout=0.5).stream(Feed.watch) as messages:
            assert messages.receive() == "first"
            for _ in range(2):
                with pytest.raises(DeadlineExceededError, match=r"feed\.watch"):
                    messages.receive()
        with fastrpc.timeout(0.05), pytest.raises(DeadlineExceededError):
            client.call(Feed.unread, [b""])
        feed.may_go_on.set()
        until(client, lambda: "watch" in feed.left)
        until(client, lambda: not client.stats()["live"]["calls"])


def test_the_default_timeout_of_calls_is_not_for_streams() -> None:
    with calling(Feed(), config=ClientConfig(timeouts=Timeouts(call=0.5))) as client:
        assert client.stream(Feed.count, 3).origin.deadline is None
        with client.open(Feed.echo) as echo:
            echo.send("a")
            assert echo.receive() == "A"
            assert echo.origin.deadline is None


def test_a_stream_whose_time_is_over_is_not_sent() -> None:
    feed = Feed()
    with calling(feed) as client:
        with (
            pytest.raises(DeadlineExceededError) as overdue,
            client.with_options(timeout=0).stream(Feed.count, 3),
        ):
            pass
        assert overdue.value.processed == "no"
    assert not feed.started


def test_a_wait_for_a_message_may_take_no_longer_than_stream_idle() -> None:
    feed = Feed()
    with calling(feed, config=ClientConfig(timeouts=Timeouts(stream_idle=0.4))) as client:
        with client.stream(Feed.watch) as messages:
            assert messages.receive() == "first"
            for _ in range(2):
                with pytest.raises(DeadlineExceededError, match="stream_idle"):
                    messages.receive()
        until(client, lambda: feed.left == ["watch"])
        with pytest.raises(DeadlineExceededError, match="stream_idle"):
            client.call(Feed.unread, [b""])
        feed.may_go_on.set()


def test_a_lost_connection_ends_the_stream_after_its_messages() -> None:
    feed = Feed()
    with serving(feed) as target, SyncClient(target) as client, client.stream(Feed.watch) as messages:
        assert messages.receive() == "first"
        client._pool.connections[0].detach()
        with pytest.raises(ConnectionLostError) as lost:
            messages.receive()
        assert lost.value.processed == "unknown"


def test_an_idempotent_stream_is_tried_again_before_its_first_message() -> None:
    flaky = Flaky(2)
    with serving(flaky) as target, SyncClient(target) as client:
        with client.stream(Flaky.before) as numbers:
            assert list(numbers) == [1]
            assert numbers.reply.attempts == 3
        assert client.stats()["totals"]["retries"] == 2
    assert flaky.started == 3


@pytest.mark.parametrize("method", [Flaky.behind, Flaky.once])
def test_a_stream_is_tried_once_after_a_message_or_where_it_may_not_run_twice(method: Any) -> None:
    flaky = Flaky()
    with serving(flaky) as target, SyncClient(target) as client:
        with pytest.raises(CallError, match="not now"):
            list(client.stream(method))
        with pytest.raises(CallError, match="not now"):
            flaky.started = 0
            client.call(Flaky.total, [1, 2])
    assert flaky.started == 1


@pytest.mark.parametrize("codec", ["msgpack", "json"])
@pytest.mark.parametrize("compressor", [None, "gzip"])
def test_messages_travel_in_every_codec_and_compressed(codec: str, compressor: str | None) -> None:
    config = ClientConfig(codec=codec, compressor=compressor, compress_above=10)
    text = "abc" * 1_000
    with calling(Feed(), config=config) as client:
        assert list(client.stream(Feed.echo, [text, "a"])) == [text.upper(), "A"]
        assert list(client.stream(Feed.lines, f"{text}\nb")) == [text, "b"]
        sent = client.stats()["totals"]["sent_bytes"]
        assert (sent < 2_000) == (compressor is not None)


def test_a_signal_handler_cannot_wait_in_the_client_that_its_thread_waits_in() -> None:
    feed, refused = EveryKind(), []
    with serving(feed) as target, SyncClient(target) as client:
        other = client.stream(EveryKind.early)
        other.begin()
        with client.stream(EveryKind.paced) as numbers:
            assert numbers.receive() == 1

            def handle(*_: Any) -> None:
                for use in (numbers.receive, other.receive, lambda: client.stream(EveryKind.count, 3)):
                    with pytest.raises(RuntimeError) as error:
                        use()
                    refused.append(str(error.value))
                feed.thread_goes_on.set()

            before = signal.signal(signal.SIGALRM, handle)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                assert numbers.receive() == 2
            finally:
                signal.signal(signal.SIGALRM, before)
        other.close()
        assert list(client.stream(EveryKind.count, 3)) == [0, 1, 2]
    assert len(refused) == 3


def test_an_interrupted_receiver_can_continue() -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    feed = EveryKind()
    with serving(feed) as target, SyncClient(target) as client:
        with client.stream(EveryKind.paced) as numbers:
            assert numbers.receive() == 1
            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                with pytest.raises(KeyboardInterrupt):
                    numbers.receive()
            finally:
                signal.signal(signal.SIGALRM, before)
            feed.thread_goes_on.set()
            assert numbers.receive() == 2
        assert client.call(EveryKind.unary, 1) == 1


def test_streams_left_at_random_points_leak_nothing() -> None:
    def live(client: SyncClient, seed: int) -> None:
        random = Random(seed)
        kind = seed % 5
        if kind == 0:
            with client.stream(EveryKind.endless, random.choice((10, 5_000, 100_000))) as blocks:
                for _ in range(random.randrange(30)):
                    blocks.receive()
        elif kind == 1:
            with client.open(EveryKind.total) as numbers:
                for number in range(random.randrange(300)):
                    numbers.send(number)
        elif kind == 2:
            with client.stream(EveryKind.blocks, random.choice((10, 5_000))) as blocks:
                for _ in range(random.randrange(100)):
                    blocks.receive()
        elif kind == 3:
            assert len(client.stream(EveryKind.endless, 1_000).receive()) == 1_000
        else:
            limit = random.randrange(1_000)
            doubled = client.stream(EveryKind.scale, range(limit), 2)
            assert list(doubled) == list(range(0, 2 * limit, 2))

    with serving(EveryKind) as target, SyncClient(target) as client:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda seed: live(client, seed), range(300)))
        gc.collect()
        until(client, lambda: not client.stats()["live"]["calls"])
        for session in client._pool.connections:
            assert session.users == 0
            assert session.engine.assembler.stream_pool_left == 33_554_432
        assert client.stats()["buffered"] == 0


@pytest.mark.parametrize("mode", ["failover", "failtry", "failfast"])
def test_streams_go_to_the_endpoints_that_answer(mode: str) -> None:
    with serving(EveryKind) as one, serving(EveryKind) as other:
        with SyncClient([one, "tcp://127.0.0.1:9", other], fail_mode=mode) as client:
            for _ in range(10):
                assert list(client.stream(EveryKind.count, 3)) == [0, 1, 2]
                assert client.call(EveryKind.total, [1, 2]) == 3
            assert list(client.with_options(endpoint=other).stream(EveryKind.count, 3)) == [0, 1, 2]
            for session in client._pool.connections:
                assert session.users == 0

"""Streams that the program lets go of, without leaving a block: they are cancelled, and in no cycle.

The collector of cycles is off in all of these tests: a stream ends when its last reference does.
"""

import asyncio
import contextlib
import gc
import logging
import sys
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from fastrpc import Call, CallError, Client, FastRPCError, Proceed
from fastrpc.failmodes import FailBackup
from tests.support.called_feed import Feed, calling, idle
from tests.support.either_client import CLIENTS, either, nowhere
from tests.support.served import served

pytestmark = pytest.mark.one_loop


@pytest.fixture(autouse=True)
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where a stream that is dropped is heard of: in the log, or as an exception that nobody could raise."""
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    caplog.set_level(logging.WARNING)
    yield
    assert [record.getMessage() for record in caplog.records] == []
    assert unraisable == []


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def noting(call: Call, proceed: Proceed) -> Any:
    """Keep the kind and the status of each call."""
    try:
        return await proceed(call)
    finally:
        TOLD.append((call.kind, call.status.name if call.status is not None else None))


TOLD: list[Any] = []


async def endless(closed: list[str]) -> AsyncIterator[str]:
    try:
        while True:
            yield "a"
            await asyncio.sleep(0.001)
    finally:
        closed.append("async")


def plain(closed: list[str]) -> Iterator[str]:
    try:
        while True:
            yield "a"
    finally:
        closed.append("plain")


@pytest.mark.parametrize("interceptors", [(), (noting,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("uses", [0, 1, 2])
async def test_a_server_stream_that_is_dropped_is_cancelled(kind: str, interceptors: Any, uses: int) -> None:
    feed = Feed()
    TOLD.clear()
    async with either(kind, feed, interceptors=interceptors) as client:
        messages = client.stream(Feed.blocks, 1000, 1_000_000)
        await messages.begin()
        for _ in range(uses):
            await anext(messages)
        kept = weakref.ref(messages if kind == "async" else messages.stream)
        del messages
        await until(lambda: kept() is None)
        await until(lambda: client.stats()["live"]["calls"] == 0)
        await until(lambda: not interceptors or TOLD == [("server_stream", "CANCELLED")])


@pytest.mark.parametrize("interceptors", [(), (noting,)], ids=["plain", "intercepted"])
@pytest.mark.parametrize("source", [endless, plain])
async def test_a_stream_that_is_fed_is_cancelled_when_it_is_dropped(interceptors: Any, source: Any) -> None:
    feed = Feed()
    closed: list[str] = []
    TOLD.clear()
    async with calling(feed, "tcp", interceptors=interceptors) as client:
        words = client.stream(Feed.echo, source(closed))
        assert await words.receive() == "A"
        del words
        await until(lambda: closed and feed.left == ["echo"])
        await idle(client)
        await until(lambda: not interceptors or TOLD == [("both_ways", "CANCELLED")])


@pytest.mark.parametrize("interceptors", [(), (noting,)], ids=["plain", "intercepted"])
async def test_a_blocking_stream_that_is_fed_is_cancelled_when_it_is_dropped(interceptors: Any) -> None:
    feed = Feed()
    closed: list[str] = []
    TOLD.clear()
    async with either("sync", feed, interceptors=interceptors) as client:
        words = client.stream(Feed.echo, plain(closed))
        assert await words.receive() == "A"
        del words
        await until(lambda: closed == ["plain"])
        await until(lambda: client.stats()["live"]["calls"] == 0 and feed.left == ["echo"])
        assert not interceptors or TOLD == [("both_ways", "CANCELLED")]


async def test_an_open_stream_that_is_dropped_is_cancelled(kind: str) -> None:
    feed = Feed()
    async with either(kind, feed) as client:
        numbers = client.open(Feed.total)
        await numbers.send(1)
        await until(lambda: feed.started["total"])
        del numbers
        await until(lambda: feed.left == ["total"])
        await until(lambda: client.stats()["live"]["calls"] == 0)


@pytest.mark.parametrize("interceptors", [(), (noting,)], ids=["plain", "intercepted"])
async def test_a_stream_that_waits_for_its_first_sign_is_cancelled_when_it_is_dropped(
    interceptors: Any,
) -> None:
    feed, other = Feed(), Feed()
    async with served(feed, scheme="tcp") as one, served(other, scheme="tcp") as two:
        for mode in (None, FailBackup(0.0)):
            async with Client([one, two], interceptors=interceptors, fail_mode=mode) as client:
                await client.ready(timeout=10)
                await until(lambda client=client: client.stats()["live"]["connections"] == 2)
                before = feed.started["silent"] + other.started["silent"]
                left = len(feed.left) + len(other.left)
                messages = client.with_options(idempotent=True).stream(Feed.silent)
                await messages.begin()
                wanted = 1 if mode is None else 2
                await until(
                    lambda b=before, n=wanted: feed.started["silent"] + other.started["silent"] == b + n
                )
                del messages
                await until(lambda b=left, n=wanted: len(feed.left) + len(other.left) == b + n)
                await idle(client)


async def read_all(client: Any) -> Any:
    messages = client.stream(Feed.count, 3)
    assert [number async for number in messages] == [0, 1, 2]
    return messages


async def read_in_a_block(client: Any) -> Any:
    async with client.stream(Feed.count, 3) as messages:
        assert [number async for number in messages] == [0, 1, 2]
    return messages


async def leave_a_block(client: Any) -> Any:
    async with client.stream(Feed.watch) as messages:
        async for _ in messages:
            break
    return messages


async def leave_messages(client: Any) -> Any:
    messages = client.stream(Feed.count, 100)
    assert [await anext(messages), await anext(messages)] == [0, 1]
    return messages


async def fail(client: Any) -> Any:
    messages = client.stream(Feed.broken, 1)
    assert await messages.receive() == 0
    for use in (messages.receive, messages.__anext__, messages.receive_many):
        try:
            await use()
        except CallError:
            pass
        else:
            raise AssertionError
    with contextlib.suppress(CallError):
        messages.reply  # noqa: B018
    return messages


async def fail_in_a_block(client: Any) -> Any:
    messages = client.stream("feed.nothing")
    try:
        async with messages:
            async for _ in messages:
                pass
    except FastRPCError:
        pass
    return messages


async def call(client: Any) -> Any:
    assert await client.call(Feed.total, [1, 2]) == 3
    return client.stream(Feed.count, 1)


async def open_and_end(client: Any) -> Any:
    async with client.open(Feed.total) as numbers:
        await numbers.send(1)
        await numbers.end()
        assert await numbers.receive() == 1
        assert numbers.reply.value == 1
    return numbers


async def fail_to_encode(client: Any) -> Any:
    numbers = client.stream(Feed.count, object())
    with contextlib.suppress(FastRPCError):
        await numbers.receive()
    return numbers


async def fail_to_fit(client: Any) -> Any:
    numbers = client.stream(Feed.count, 1, 2, 3)
    for _ in range(2):
        with contextlib.suppress(TypeError):
            await numbers.receive()
    return numbers


async def fail_while_fed(client: Any) -> Any:
    def broken() -> Iterator[str]:
        yield "a"
        raise KeyError("mine")

    words = client.stream(Feed.echo, broken())
    with contextlib.suppress(KeyError):
        [word async for word in words]
    return words


@pytest.mark.parametrize(
    "use",
    [
        read_all,
        read_in_a_block,
        leave_a_block,
        leave_messages,
        fail,
        fail_in_a_block,
        call,
        open_and_end,
        fail_to_encode,
        fail_to_fit,
        fail_while_fed,
    ],
)
@pytest.mark.parametrize("interceptors", [(), (noting,)], ids=["plain", "intercepted"])
async def test_a_stream_that_ended_is_in_no_cycle(kind: str, interceptors: Any, use: Any) -> None:
    async with either(kind, Feed(), interceptors=interceptors) as client:
        stream = await use(client)
        kept = weakref.ref(stream if kind == "async" else stream.stream)
        del stream
        await until(lambda: kept() is None)


async def test_a_stream_whose_begin_failed_is_in_no_cycle(kind: str) -> None:
    async with nowhere(kind) as client:
        for verb, args in (("stream", (Feed.count, 3)), ("open", (Feed.echo,))):
            stream = getattr(client, verb)(*args)
            for use in (stream.begin, stream.receive, stream.headers):
                with contextlib.suppress(FastRPCError):
                    await use()
            kept = weakref.ref(stream if kind == "async" else stream.stream)
            del stream, use
            await until(lambda kept=kept: kept() is None)


def test_a_stream_that_outlives_its_loop_is_dropped_without_a_word() -> None:
    kept: list[Any] = []

    async def main() -> None:
        feed = Feed()
        async with served(feed) as address:
            client = Client(address, interceptors=[noting])
            messages, numbers = client.stream(Feed.watch), client.open(Feed.total)
            await messages.receive()
            await numbers.send(1)
            waiting = asyncio.ensure_future(messages.receive())
            await asyncio.sleep(0)
            kept.extend([messages, numbers, messages.receive()])
            waiting.cancel()
            await client.close()

    asyncio.run(main())
    kept.clear()


async def test_a_stream_that_the_collector_finds_in_another_thread_is_cancelled_by_its_loop() -> None:
    loop = asyncio.get_running_loop()
    async with calling(Feed(), "tcp") as client:
        messages = client.stream(Feed.blocks, 1000, 1_000_000)
        await anext(messages)
        cycle: list[Any] = [messages]
        cycle.append(cycle)
        del messages, cycle
        # In this mode a loop refuses other threads.
        loop.set_debug(True)
        loop.slow_callback_duration = 3600
        try:
            await asyncio.to_thread(gc.collect)
            await idle(client)
        finally:
            loop.set_debug(False)

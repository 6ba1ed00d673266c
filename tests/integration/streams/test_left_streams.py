"""Streams that are left, cancelled or closed before their end: the handler is cancelled, nothing leaks."""

import asyncio
import gc

import pytest

from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    ConnectionLostError,
    Server,
    Status,
    StreamEndedError,
    UnavailableError,
)
from fastrpc.config import Backoff
from tests.support.called_feed import Feed, calling, idle
from tests.support.served import address_of, served


@pytest.fixture(params=["tcp", "unix", "memory"])
def scheme(request: pytest.FixtureRequest) -> str:
    scheme: str = request.param
    return scheme


async def gone(feed: Feed, name: str) -> None:
    """Wait until a handler noted that it ended."""
    async with asyncio.timeout(10):
        while name not in feed.left:
            feed.has_left.clear()
            await feed.has_left.wait()


async def test_leaving_the_loop_early_cancels_the_handler(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client:
        async with client.stream(Feed.watch) as messages:
            async for message in messages:
                assert message == "first"
                break
        await gone(feed, "watch")
        assert client.stats()["totals"]["failed"] == {"CANCELLED": 1}


async def test_an_exception_in_the_block_cancels_the_handler_and_is_raised(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client:
        with pytest.raises(KeyError):
            async with client.stream(Feed.watch) as messages:
                await messages.receive()
                raise KeyError
        await gone(feed, "watch")


async def test_cancel_waits_for_nothing_and_ends_whoever_waits(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client:
        async with client.stream(Feed.silent) as messages:
            waiting = asyncio.ensure_future(messages.receive())
            while not feed.started["silent"]:
                await asyncio.sleep(0)
            messages.cancel()
            messages.cancel()
            with pytest.raises(CallError) as cancelled:
                await waiting
            assert cancelled.value.status is Status.CANCELLED
            with pytest.raises(CallError):
                await messages.receive()
        await gone(feed, "silent")


async def test_a_cancelled_task_cancels_the_handler(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client:

        async def read() -> None:
            async with client.stream(Feed.silent) as messages:
                await messages.receive()

        reading = asyncio.ensure_future(read())
        while not feed.started["silent"]:
            await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await gone(feed, "silent")


async def test_leaving_an_open_stream_without_end_cancels_the_handler(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client:
        async with client.open(Feed.echo) as echo:
            await echo.send("a")
            assert await echo.receive() == "A"
        await gone(feed, "echo")


async def test_messages_that_nobody_took_are_dropped_with_the_stream(scheme: str) -> None:
    async with calling(Feed(), scheme) as client:
        async with client.stream(Feed.count, 100) as numbers:
            assert await numbers.receive() == 0
        with pytest.raises((CallError, StreamEndedError)):
            await numbers.receive()
        await idle(client)
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


@pytest.mark.one_loop
async def test_a_stream_that_is_garbage_collected_is_cancelled() -> None:
    feed = Feed()
    async with calling(feed) as client:
        async for message in client.stream(Feed.watch):
            assert message == "first"
            break
        del message
        gc.collect()
        await gone(feed, "watch")
        await idle(client)


@pytest.mark.one_loop
async def test_a_stream_that_was_never_begun_is_closed_without_a_word() -> None:
    async with calling(Feed()) as client:
        numbers = client.stream(Feed.count, 3)
        await numbers.aclose()
        with pytest.raises(CallError) as cancelled:
            await numbers.receive()
        assert cancelled.value.status is Status.CANCELLED
        assert client.stats()["totals"]["calls"] == 0


@pytest.mark.one_loop
async def test_leaving_after_the_end_cancels_nothing() -> None:
    feed = Feed()
    async with calling(feed) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]
        assert client.stats()["totals"]["failed"] == {}


async def test_a_client_that_closes_ends_its_streams(scheme: str) -> None:
    feed = Feed()
    async with calling(feed, scheme) as client, client.stream(Feed.watch) as messages:
        assert await messages.receive() == "first"
        waiting = asyncio.ensure_future(messages.receive())
        await asyncio.sleep(0)
        await client.close()
        with pytest.raises(ConnectionLostError):
            await waiting
        await gone(feed, "watch")


async def test_a_server_that_drains_ends_streams_with_a_clear_error(scheme: str) -> None:
    feed = Feed()
    async with served(feed, scheme=scheme) as address, Client(address) as client:
        await client.ready(timeout=10)
        idempotent, other = client.stream(Feed.watch), client.open(Feed.echo)
        assert await idempotent.receive() == "first"
        await other.send("a")
        assert await other.receive() == "A"
        await address.server.drain(timeout=0.05)
        for stream in (idempotent, other):
            with pytest.raises(UnavailableError) as drained:
                await stream.receive()
            assert drained.value.processed == "yes"
            assert drained.value.retryable is (stream is idempotent)
            assert drained.value.hint == "open it again"
            await stream.aclose()


@pytest.mark.one_loop
async def test_a_stream_to_nowhere_fails_where_it_begins() -> None:
    async with Client("tcp://127.0.0.1:9") as client:
        with pytest.raises(UnavailableError, match=r"feed\.count"):
            async with client.stream(Feed.count, 3):
                pass
        with pytest.raises(UnavailableError):
            await client.stream(Feed.count, 3).receive()
        with pytest.raises(UnavailableError):
            await client.call(Feed.total, [1])
        with pytest.raises(UnavailableError):
            await client.open(Feed.echo).send("a")
        assert client.stats()["totals"]["failed"] == {"UNAVAILABLE": 4}


@pytest.mark.one_loop
async def test_a_stream_waits_for_a_connection() -> None:
    async with served(Feed()) as address, Client(address) as client:
        async with client.stream(Feed.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


@pytest.mark.one_loop
async def test_a_client_of_another_loop_is_refused() -> None:
    async with calling(Feed()) as client:

        async def use() -> None:
            with pytest.raises(RuntimeError, match="loop"):
                await client.stream(Feed.count, 3).receive()

        await asyncio.to_thread(asyncio.run, use())


async def test_a_stream_that_is_cancelled_while_it_waits_for_a_connection_is_not_sent() -> None:
    feed = Feed()
    with address_of("unix") as address:
        async with Client(address, config=ClientConfig(backoff=Backoff(first=0.01, longest=0.01))) as client:
            numbers = client.with_options(wait_for_ready=True).open(Feed.total)
            sending = asyncio.ensure_future(numbers.send(1))
            while numbers._begun is None:
                await asyncio.sleep(0)
            numbers.cancel()
            async with Server(feed) as server:
                await server.listen(address)
                with pytest.raises(CallError) as cancelled:
                    await sending
                assert cancelled.value.status is Status.CANCELLED
                assert await client.call(Feed.latest) == 42
                assert client.stats()["live"]["calls"] == 0
    assert not feed.started

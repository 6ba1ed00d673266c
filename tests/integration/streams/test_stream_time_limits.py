"""Deadlines of streams, and how long one wait for a message may take."""

import asyncio
from collections.abc import AsyncIterator

import pytest

import fastrpc
from fastrpc import ClientConfig, DeadlineExceededError, Timeouts
from tests.support.called_feed import Feed, calling, idle

pytestmark = pytest.mark.one_loop


@fastrpc.service("feed")
class Hasty:
    """`Feed` with a time limit of its own."""

    @fastrpc.method(timeout=0.05)
    async def silent(self) -> AsyncIterator[str]:
        yield ""


async def test_a_timeout_covers_the_whole_stream() -> None:
    feed = Feed()
    async with calling(feed) as client:
        async with client.with_options(timeout=0.5).stream(Feed.watch) as messages:
            assert await messages.receive() == "first"
            for _ in range(2):
                with pytest.raises(DeadlineExceededError, match=r"feed\.watch"):
                    await messages.receive()
        async with asyncio.timeout(10):
            await feed.has_left.wait()


async def test_the_timeout_of_the_method_holds_for_its_streams() -> None:
    async with calling(Feed()) as client:
        with pytest.raises(DeadlineExceededError):
            await client.stream(Hasty.silent).receive()


async def test_a_surrounding_timeout_holds_for_streams() -> None:
    async with calling(Feed()) as client:
        async with fastrpc.timeout(0.05):
            with pytest.raises(DeadlineExceededError):
                await client.stream(Feed.silent).receive()
            with pytest.raises(DeadlineExceededError):
                await client.call(Feed.unread, [b""])


async def test_the_default_timeout_of_calls_is_not_for_streams() -> None:
    config = ClientConfig(timeouts=Timeouts(call=0.01))
    async with calling(Feed(), config=config) as client, client.open(Feed.echo) as echo:
        await asyncio.sleep(0.05)
        await echo.send("a")
        assert await echo.receive() == "A"
        assert echo.origin.deadline is None


async def test_a_stream_whose_time_is_over_is_not_sent() -> None:
    feed = Feed()
    async with calling(feed) as client:
        with pytest.raises(DeadlineExceededError) as overdue:
            async with client.with_options(timeout=0).stream(Feed.count, 3):
                pass
    assert overdue.value.processed == "no"
    assert not feed.started


async def test_a_wait_for_a_message_may_take_no_longer_than_stream_idle() -> None:
    feed = Feed()
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.4))
    async with calling(feed, config=config) as client:
        async with client.stream(Feed.watch) as messages:
            assert await messages.receive() == "first"
            for _ in range(2):
                with pytest.raises(DeadlineExceededError, match="stream_idle"):
                    await messages.receive()
        async with asyncio.timeout(10):
            await feed.has_left.wait()
        with pytest.raises(DeadlineExceededError, match="stream_idle"):
            await client.call(Feed.unread, [b""])
        feed.may_go_on.set()
        await idle(client)


async def test_time_in_the_consumer_is_no_wait() -> None:
    config = ClientConfig(timeouts=Timeouts(stream_idle=0.03))
    async with calling(Feed(), config=config) as client, client.open(Feed.echo) as echo:
        for text in "ab":
            await echo.send(text)
            await asyncio.sleep(0.08)
            assert await echo.receive() == text.upper()

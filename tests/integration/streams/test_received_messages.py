"""Results and errors of a stream, their order, and its known facts."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, DecodeError, Metadata, Status, StreamEndedError
from tests.support.called_feed import Feed, calling, idle

pytestmark = pytest.mark.one_loop


@fastrpc.service("feed")
class WrongFeed:
    """A client's version of `Feed` that has other types."""

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[str]:
        yield ""

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> str:
        return ""


async def test_receive_raises_stream_ended_after_the_last_message() -> None:
    async with calling(Feed()) as client, client.stream(Feed.count, 2) as numbers:
        assert [await numbers.receive(), await numbers.receive()] == [0, 1]
        for _ in range(2):
            with pytest.raises(StreamEndedError):
                await numbers.receive()
            with pytest.raises(StreamEndedError):
                await numbers.receive_many()
            assert [number async for number in numbers] == []


async def test_receive_many_returns_ready_messages_and_never_an_empty_list() -> None:
    received: list[int] = []
    async with calling(Feed()) as client, client.stream(Feed.count, 1000) as numbers:
        with pytest.raises(StreamEndedError):
            while True:
                some = await numbers.receive_many()
                assert some
                received += some
    assert received == list(range(1000))


async def test_receive_many_returns_at_most_its_limit() -> None:
    received: list[int] = []
    async with calling(Feed()) as client, client.stream(Feed.count, 100) as numbers:
        while len(received) < 100:
            some = await numbers.receive_many(3)
            assert 1 <= len(some) <= 3
            received += some
        for limit in (0, -1, 1.5):
            with pytest.raises(ValueError, match="limit"):
                await numbers.receive_many(limit)  # type: ignore[arg-type]
    assert received == list(range(100))


async def test_messages_that_came_before_a_failure_come_first() -> None:
    async with calling(Feed()) as client, client.stream(Feed.broken, 3) as numbers:
        assert [await numbers.receive() for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            with pytest.raises(CallError) as failed:
                await numbers.receive()
            assert failed.value.status is Status.NOT_FOUND
            assert (failed.value.message, failed.value.details) == ("there is no more", {"at": 3})
            with pytest.raises(CallError):
                await numbers.receive_many()
            with pytest.raises(CallError):
                await anext(numbers)


async def test_a_handler_that_crashes_ends_the_loop_with_internal() -> None:
    received = []
    async with calling(Feed()) as client, client.stream(Feed.crashing) as numbers:
        with pytest.raises(CallError) as failed:
            async for number in numbers:
                received.append(number)
    assert received == [1]
    assert failed.value.status is Status.INTERNAL


async def test_a_method_that_is_unknown_fails_the_first_receive() -> None:
    async with calling(Feed()) as client, client.stream("feed.unknown") as messages:
        with pytest.raises(CallError) as failed:
            await messages.receive()
    assert failed.value.status is Status.UNIMPLEMENTED


async def test_a_second_receiver_is_a_runtime_error() -> None:
    async with calling(Feed()) as client, client.stream(Feed.silent) as messages:
        waiting = asyncio.ensure_future(messages.receive())
        await asyncio.sleep(0)
        for second in (messages.receive, messages.receive_many, messages.__anext__):
            with pytest.raises(RuntimeError, match="one receiver"):
                await second()
        waiting.cancel()


async def test_a_cancelled_receive_loses_no_message() -> None:
    async with calling(Feed()) as client, client.open(Feed.echo) as echo:
        waiting = asyncio.ensure_future(echo.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await echo.send("a")
        assert await echo.receive() == "A"


async def test_a_message_that_does_not_fit_ends_the_stream_with_decode_error() -> None:
    async with calling(Feed()) as client, client.stream(WrongFeed.count, 3) as numbers:
        for _ in range(2):
            with pytest.raises(DecodeError, match=r"feed\.count"):
                await numbers.receive()
        with pytest.raises(DecodeError):
            _ = numbers.reply


async def test_an_answer_that_does_not_fit_is_a_decode_error() -> None:
    async with calling(Feed()) as client:
        with pytest.raises(DecodeError, match=r"feed\.total"):
            await client.call(WrongFeed.total, [1, 2])
        await idle(client)


async def test_metadata_is_known_once_a_message_came() -> None:
    async with calling(Feed()) as client, client.stream(Feed.watch) as messages:
        assert await messages.receive() == "first"
        assert messages.metadata == Metadata()


async def test_metadata_before_anything_came_is_a_lookup_error() -> None:
    async with calling(Feed()) as client:
        with pytest.raises(LookupError):
            _ = client.stream(Feed.silent).metadata
        async with client.stream(Feed.silent) as messages:
            with pytest.raises(LookupError, match="headers"):
                _ = messages.metadata


async def test_headers_waits_for_the_first_sign() -> None:
    async with calling(Feed()) as client:
        async with client.stream(Feed.watch) as messages:
            assert await messages.headers() == Metadata()
            assert await messages.receive() == "first"
        assert await client.stream(Feed.count, 0).headers() == Metadata()
        with pytest.raises(CallError):
            await client.stream(Feed.broken, 0).headers()


async def test_reply_is_set_after_the_end() -> None:
    async with calling(Feed()) as client, client.stream(Feed.count, 2) as numbers:
        with pytest.raises(LookupError, match="not ended"):
            _ = numbers.reply
        assert [number async for number in numbers] == [0, 1]
        assert numbers.reply.attempts == 1
        assert str(numbers.reply.endpoint.address).partition(":")[0] in {"memory", "unix"}
        assert numbers.reply.seconds > 0


async def test_reply_raises_the_error_of_the_stream() -> None:
    async with calling(Feed()) as client, client.stream(Feed.broken, 1) as numbers:
        with pytest.raises(CallError):
            [number async for number in numbers]
        with pytest.raises(CallError, match="no more"):
            _ = numbers.reply


async def test_large_messages_come_whole() -> None:
    async with calling(Feed()) as client, client.stream(Feed.blocks, 300_000, 5) as blocks:
        sizes = [(len(block), block[0]) async for block in blocks]
    assert sizes == [(300_000, number) for number in range(5)]


async def test_thousands_of_streams_leak_nothing() -> None:
    async with calling(Feed()) as client:
        for _ in range(5):
            streams = [client.stream(Feed.count, 20) for _ in range(200)]

            async def read(stream: fastrpc.Stream[Any, int]) -> int:
                async with stream:
                    return sum([number async for number in stream])

            assert await asyncio.gather(*map(read, streams)) == [190] * 200
        stats = client.stats()
    assert (stats["live"]["calls"], stats["live"]["waiting"], stats["buffered"]) == (0, 0, 0)
    assert stats["totals"]["calls"] == stats["totals"]["succeeded"] == 1000

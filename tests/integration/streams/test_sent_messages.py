"""The messages that a stream sends, by hand and from an iterable, and the events that stop it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from fastrpc import CallError, Status, StreamEndedError
from tests.support.called_feed import Feed, calling
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def test_send_after_the_server_failed_raises_that_error() -> None:
    async with calling(Feed()) as client, client.open("feed.unknown") as messages:
        with pytest.raises(CallError):
            await messages.receive()
        for _ in range(2):
            with pytest.raises(CallError) as failed:
                await messages.send("a")
            assert failed.value.status is Status.UNIMPLEMENTED


async def test_a_sender_waits_while_the_server_reads_nothing() -> None:
    feed = Feed()
    async with calling(feed) as client, client.open(Feed.unread) as blocks:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for _ in range(1000):
                await blocks.send(bytes(1000))
                sent += 1

        sending = asyncio.ensure_future(send())
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done
        # The window of a stream, and one message that waits for credit.
        assert 60 <= sent <= 70
        with pytest.raises(RuntimeError, match="one sender"):
            await blocks.send(b"")
        feed.may_go_on.set()
        await blocks.receive()
        with pytest.raises(StreamEndedError):
            await sending


async def test_an_iterable_is_read_no_faster_than_the_server_takes_it() -> None:
    feed = Feed()
    given = 0

    def blocks() -> Iterator[bytes]:
        nonlocal given
        for _ in range(100_000):
            given += 1
            yield bytes(1000)

    async with calling(feed) as client:
        call = asyncio.ensure_future(client.call(Feed.unread, blocks()))  # type: ignore[arg-type]
        done, _ = await asyncio.wait([call], timeout=0.2)
        assert not done
        assert 60 <= given <= 70
        feed.may_go_on.set()
        assert await call is None


async def test_an_exception_in_the_iterable_cancels_the_call_and_is_raised() -> None:
    feed = Feed()

    async def numbers() -> AsyncIterator[int]:
        yield 1
        while not feed.received:
            await asyncio.sleep(0)
        raise KeyError("mine")

    def plain() -> Iterator[int]:
        yield 1
        raise KeyError("mine")

    async with calling(feed) as client:
        with pytest.raises(KeyError, match="mine"):
            await client.call(Feed.total, numbers())
        await eventually(lambda: feed.left == ["total"])
        feed.started.clear()
        feed.left.clear()
        with pytest.raises(KeyError, match="mine"):
            await client.call(Feed.total, plain())  # type: ignore[arg-type]
        # After a stall the call and its CANCEL are read in one turn: the handler of the plain one need not start.
        assert await client.call(Feed.latest) == 42
        await eventually(lambda: feed.started["total"] == len(feed.left))
        with pytest.raises(KeyError, match="mine"):
            async with client.stream(Feed.echo, _broken_texts()) as echo:
                async for _ in echo:
                    pass
        stats = client.stats()
    assert stats["totals"]["failed"] == {"CANCELLED": 3}


async def _broken_texts() -> AsyncIterator[str]:
    yield "a"
    raise KeyError("mine")


async def test_an_early_answer_ends_the_iterable() -> None:
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            while True:
                yield 5
                await asyncio.sleep(0)
        finally:
            ended.append("closed")

    async with calling(Feed()) as client:
        assert await client.call(Feed.first, numbers()) == 5
    assert ended == ["closed"]


async def test_a_cancelled_call_ends_its_iterable_and_the_handler() -> None:
    feed = Feed()
    ended: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.append("closed")

    async with calling(feed) as client:
        call = asyncio.ensure_future(client.call(Feed.total, numbers()))
        while not feed.received:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await feed.has_left.wait()
    assert ended == ["closed"]
    assert feed.left == ["total"]


async def test_large_messages_are_sent_whole() -> None:
    async with calling(Feed()) as client, client.open(Feed.echo) as echo:
        await echo.send("a" * 300_000)
        assert await echo.receive() == "A" * 300_000


async def test_many_messages_are_sent_in_order() -> None:
    async with calling(Feed()) as client:
        async with client.stream(Feed.echo, (f"m{n}" for n in range(20_000))) as echo:  # type: ignore[arg-type]
            assert [text async for text in echo] == [f"M{n}" for n in range(20_000)]

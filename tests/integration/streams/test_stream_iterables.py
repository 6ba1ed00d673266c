"""Iterables whose messages a stream sends: who closes them, and where their exceptions are raised."""

import asyncio
import io
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import UnavailableError
from tests.support.called_feed import Feed, calling
from tests.support.either_client import CLIENTS, either, nowhere
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("lines")
class Lines:
    @fastrpc.method
    async def count(self, lines: AsyncIterator[bytes]) -> int:
        return len([line async for line in lines])


class Closable:
    """An iterator of a program's own, with a `close` that nobody else may call."""

    def __init__(self, limit: int = 3) -> None:
        self.left = limit
        self.closed = 0

    def __iter__(self) -> "Closable":
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return 1

    def close(self) -> None:
        self.closed += 1


class AsyncClosable(Closable):
    __iter__ = None  # type: ignore[assignment]

    def __aiter__(self) -> "AsyncClosable":
        return self

    async def __anext__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return 1

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture(params=CLIENTS)
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def noted(ends: list[str], limit: int = 1_000_000) -> Iterator[int]:
    try:
        for _ in range(limit):
            yield 1
        ends.append("exhausted")
    except BaseException as error:
        ends.append(type(error).__name__)
        raise


async def noted_later(ends: list[str], limit: int = 1_000_000) -> AsyncIterator[int]:
    try:
        for _ in range(limit):
            yield 1
            await asyncio.sleep(0)
        ends.append("exhausted")
    except BaseException as error:
        ends.append(type(error).__name__)
        raise


async def test_a_file_and_an_iterator_with_close_are_not_closed(kind: str) -> None:
    async with either(kind, Lines(), Feed()) as client:
        file = io.BytesIO(b"a\nb\n")
        assert await client.call(Lines.count, file) == 2
        assert not file.closed
        for limit, method, answer in ((3, Feed.total, 3), (1_000_000, Feed.first, 1)):
            numbers = Closable(limit)
            assert await client.call(method, numbers) == answer
            assert numbers.closed == 0


async def test_an_asynchronous_iterator_with_aclose_is_not_closed() -> None:
    async with calling(Feed()) as client:
        for limit, method, answer in ((3, Feed.total, 3), (1_000_000, Feed.first, 1)):
            numbers = AsyncClosable(limit)
            assert await client.call(method, numbers) == answer  # type: ignore[arg-type]
            assert numbers.closed == 0


async def test_a_stream_that_is_sent_continues_when_the_server_answers_early() -> None:
    async with calling(Feed()) as client:
        async with client.stream(Feed.count, 100_000) as numbers:
            assert await client.call(Feed.first, numbers) == 0
            rest = [number async for number in numbers]
            assert rest
            assert rest[-1] == 99_999


async def test_a_generator_is_closed_when_the_server_answers_early(kind: str) -> None:
    ends: list[str] = []
    async with either(kind, Feed()) as client:
        assert await client.call(Feed.first, noted(ends)) == 1
        assert ends == ["GeneratorExit"]
        if kind == "async":
            assert await client.call(Feed.first, noted_later(ends)) == 1
            assert ends[1] in ("GeneratorExit", "CancelledError")


async def test_the_finally_of_a_generator_may_await_when_the_server_answers_early() -> None:
    ends: list[str] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0)
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
                ends.append("awaited")

    async with calling(Feed()) as client:
        assert await client.call(Feed.first, endless()) == 1
        await eventually(lambda: len(ends) == 3)


async def test_a_generator_that_iter_makes_is_closed_too(kind: str) -> None:
    ends: list[str] = []

    class Source:
        def __iter__(self) -> Iterator[int]:
            return noted(ends)

    async with either(kind, Feed()) as client:
        assert await client.call(Feed.first, Source()) == 1
    assert ends == ["GeneratorExit"]


async def test_a_generator_that_ran_out_is_closed_once(kind: str) -> None:
    ends: list[str] = []
    async with either(kind, Feed()) as client:
        assert await client.call(Feed.total, noted(ends, 3)) == 3
    assert ends == ["exhausted"]


async def test_a_generator_without_a_sent_message_stays_open(kind: str) -> None:
    async with nowhere(kind) as client:
        numbers = iter(range(3))
        generator = (number for number in numbers)
        assert next(generator) == 0
        with pytest.raises(UnavailableError):
            await client.call(Feed.total, generator)
        assert list(generator) == [1, 2]


async def test_an_exception_of_the_iterable_is_raised_with_its_lines(kind: str) -> None:
    def failing() -> Iterator[Any]:
        yield 1
        raise LookupError("no more of them")

    feed = Feed()
    async with either(kind, feed) as client:
        with pytest.raises(LookupError, match="no more of them") as raised:
            await client.call(Feed.total, failing())
        assert "failing" in [entry.name for entry in raised.traceback]
        async with client.stream("feed.echo", (str(number) for number in failing())) as words:
            with pytest.raises(LookupError):
                while True:
                    await words.receive()
            with pytest.raises(LookupError):
                await words.receive()
            with pytest.raises(LookupError):
                words.reply  # noqa: B018
    # A handler is cancelled, unless its call was given up before it started.
    assert Counter(feed.left) == feed.started


async def test_an_iterable_that_cannot_be_iterated_is_raised(kind: str) -> None:
    class Broken:
        def __iter__(self) -> Iterator[int]:
            raise LookupError("not today")

    async with either(kind, Feed()) as client:
        numbers = client.stream(Feed.echo, Broken())
        for _ in range(2):
            with pytest.raises(LookupError, match="not today"):
                await numbers.receive()
        with pytest.raises(LookupError):
            numbers.reply  # noqa: B018


async def test_an_error_of_closing_is_logged_and_the_answer_stands(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            raise ValueError("cleanup failed")

    caplog.set_level(logging.ERROR, "fastrpc.client")
    async with either(kind, Feed()) as client:
        assert await client.call(Feed.first, failing()) == 1
    (record,) = caplog.records
    assert record.getMessage() == (
        "feed.first: the iterable of its messages failed after the end of the stream"
    )
    assert record.exc_info is not None
    assert "cleanup failed" in str(record.exc_info[1])


async def test_an_error_of_closing_later_is_logged_and_the_answer_stands(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def failing() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
            await asyncio.Event().wait()
        except BaseException:
            raise ValueError("cleanup failed") from None

    caplog.set_level(logging.ERROR, "fastrpc.client")
    async with calling(Feed()) as client:
        assert await client.call(Feed.first, failing()) == 1
    assert len(caplog.records) == 1

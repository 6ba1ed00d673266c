"""Long messages of streams are compressed in slices, and keep their order."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, EncodeError, ServerConfig, Status
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.held_compressor import HeldCompressor, install
from tests.support.served import Served, served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

KIB = 1 << 10
LONG = 400 * KIB
#: Short and long messages are mixed: a message that overtook another would be seen.
SIZES = [10, LONG, 20, 30, LONG + 1, LONG + 2, 40]
#: So long that a request with it is compressed, and with it the messages of the call.
PADDING = "." * (2 * KIB)


@fastrpc.service("feed")
class Feed:
    def __init__(self) -> None:
        self.received: list[int] = []
        self.ends: list[str] = []
        self.steps = 0

    @fastrpc.method
    async def give(self, sizes: list[int], padding: str) -> AsyncIterator[bytes]:
        try:
            for size in sizes:
                self.steps += 1
                yield bytes(size)
        except asyncio.CancelledError:
            self.ends.append("cancelled")
            raise

    @fastrpc.method
    def give_in_thread(self, sizes: list[int], padding: str) -> Iterator[bytes]:
        for size in sizes:
            yield bytes(size)

    @fastrpc.method
    async def take(self, messages: AsyncIterator[bytes], padding: str) -> list[int]:
        async for message in messages:
            self.received.append(len(message))
        return self.received

    @fastrpc.method
    async def both(self, messages: AsyncIterator[bytes], padding: str) -> AsyncIterator[bytes]:
        async for message in messages:
            yield message


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[HeldCompressor]]:
    yield from install(monkeypatch)


@pytest.fixture
async def feed() -> Feed:
    return Feed()


@pytest.fixture
async def target(held: type[HeldCompressor], feed: Feed) -> AsyncIterator[Served]:
    async with served(feed, scheme="tcp", config=ServerConfig()) as target:
        yield target
        await eventually(lambda: bytes_held() == 0)


@pytest.fixture
async def view(target: Served) -> AsyncIterator[Any]:
    async with Client(target) as client:
        await client.ready()
        yield client.with_options(compressor="held", timeout=60)


async def messages_of(sizes: list[int]) -> AsyncIterator[bytes]:
    for size in sizes:
        yield bytes(size)


@pytest.mark.parametrize("method", [Feed.give, Feed.give_in_thread])
async def test_messages_of_a_handler_keep_their_order(
    view: Any, held: type[HeldCompressor], method: Any
) -> None:
    stream = view.stream(method, SIZES, PADDING)
    assert len(await stream.receive()) == 10
    await eventually(lambda: len(held.begun) == 1)
    held.is_held = False
    assert [len(message) async for message in stream] == SIZES[1:]
    assert len(held.begun) == 3


async def test_messages_of_a_caller_keep_their_order(
    view: Any, held: type[HeldCompressor], feed: Feed
) -> None:
    async with view.open(Feed.take, padding=PADDING) as stream:
        for size in SIZES[:2]:
            await stream.send(bytes(size))
        await eventually(lambda: feed.received == [10] and len(held.begun) == 1)
        held.is_held = False
        for size in SIZES[2:]:
            await stream.send(bytes(size))
        await stream.end()
        assert await stream.receive() == SIZES


async def test_the_end_is_sent_after_the_message_that_is_compressed(
    view: Any, held: type[HeldCompressor]
) -> None:
    async with view.open(Feed.take, padding=PADDING) as stream:
        await stream.send(bytes(LONG))
        await stream.end()
        with pytest.raises(RuntimeError, match="nothing more can be sent"):
            await stream.send(b"")
        held.is_held = False
        assert await stream.receive() == [LONG]


async def test_an_iterable_is_sent_in_order(view: Any, held: type[HeldCompressor]) -> None:
    held.is_held = False
    assert await view.call(Feed.take, messages_of(SIZES), PADDING) == SIZES
    assert await view.call(Feed.take, iter([bytes(LONG)]), PADDING) == [*SIZES, LONG]


async def test_messages_go_both_ways(view: Any, held: type[HeldCompressor]) -> None:
    held.is_held = False
    stream = view.stream(Feed.both, messages_of(SIZES), PADDING)
    assert [len(message) async for message in stream] == SIZES


async def test_a_message_counts_while_it_is_compressed_and_at_most_until_its_stream_ends(
    view: Any, held: type[HeldCompressor], feed: Feed, target: Served
) -> None:
    async with view.stream(Feed.give, [LONG] * 5, PADDING) as stream:
        receiving = asyncio.create_task(stream.receive())
        await eventually(lambda: len(held.begun) == 1)
        assert LONG <= bytes_held() <= LONG + 32 * KIB
        # The generator waits meanwhile.
        assert feed.steps == 1
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    await eventually(lambda: feed.ends == ["cancelled"] and bytes_held() == 0)
    assert feed.steps == 1


async def test_a_stream_that_its_caller_leaves_sends_nothing_more(
    view: Any, held: type[HeldCompressor], feed: Feed
) -> None:
    async with view.open(Feed.take, padding=PADDING) as stream:
        await stream.send(bytes(LONG))
        await eventually(lambda: len(held.begun) == 1)
    held.is_held = False
    assert await view.call(Feed.take, messages_of([1]), PADDING) == [1]


@pytest.mark.parametrize("method", [Feed.give, Feed.give_in_thread])
async def test_a_message_of_a_handler_that_cannot_be_compressed_fails_the_call(
    view: Any, held: type[HeldCompressor], method: Any
) -> None:
    held.is_held, held.error = False, ArithmeticError("odd")
    with pytest.raises(CallError) as failed:
        async for _ in view.stream(method, [1, LONG], PADDING):
            pass
    assert failed.value.status is Status.INTERNAL


async def test_a_message_of_a_caller_that_cannot_be_compressed_fails_the_stream(
    view: Any, held: type[HeldCompressor]
) -> None:
    held.is_held, held.error = False, ArithmeticError("odd")
    async with view.open(Feed.take, padding=PADDING) as stream:
        await stream.send(bytes(LONG))
        with pytest.raises(EncodeError, match="cannot be compressed by held: ArithmeticError"):
            await stream.receive()
    with pytest.raises(EncodeError, match="cannot be compressed by held: ArithmeticError"):
        await view.call(Feed.take, messages_of([LONG]), PADDING)


async def test_arguments_of_a_stream_are_compressed_in_slices(
    view: Any, held: type[HeldCompressor], feed: Feed
) -> None:
    stream = view.stream(Feed.give, [1, 2], "." * LONG)
    receiving = asyncio.create_task(stream.receive())
    await eventually(lambda: len(held.begun) == 1)
    assert feed.steps == 0
    held.is_held = False
    assert await receiving == bytes(1)
    assert [message async for message in stream] == [bytes(2)]


async def test_a_stream_whose_deadline_passes_while_its_arguments_are_compressed_is_not_sent(
    view: Any, held: type[HeldCompressor], feed: Feed
) -> None:
    with pytest.raises(fastrpc.DeadlineExceededError) as failed:
        await view.with_options(timeout=0.2).stream(Feed.give, [1], "." * LONG).receive()
    assert failed.value.processed == "no"
    assert feed.steps == 0

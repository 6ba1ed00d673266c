"""Messages that are ready at once are sent together: `send_many`, and a list given as the stream parameter."""

import asyncio
import threading
from array import array
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, EncodeError, StreamEndedError
from tests.support.either_client import CLIENTS, either, taken

pytestmark = pytest.mark.one_loop

#: Some windows of a stream full.
MANY = 20_000


@fastrpc.service("tape")
class Tape:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.read = asyncio.Event()
        self.came = threading.Event()

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def kept(self, words: AsyncIterator[Any]) -> int:
        async for word in words:
            self.seen.append(word)
            self.came.set()
        return len(self.seen)

    @fastrpc.method
    async def shout(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield word.upper()

    @fastrpc.method
    async def early(self, words: AsyncIterator[str]) -> int:
        return 1

    @fastrpc.method
    async def late(self, words: AsyncIterator[str]) -> int:
        await self.read.wait()
        return len([word async for word in words])


def flushes(client: Any) -> int:
    pool = getattr(client, "client", client)._pool
    return sum(int(getattr(session, "engine", session).sender.flushes) for session in pool.connections)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_messages_arrive_whole_and_in_order(kind: str) -> None:
    served = Tape()
    async with either(kind, served) as client:
        async with client.open(Tape.kept) as words:
            await words.send("first")
            await words.send_many([f"word {number}" for number in range(MANY)])
            await words.send_many(())
            await words.send("last")
            await words.end()
            assert await words.receive() == MANY + 2
    assert served.seen == ["first", *(f"word {number}" for number in range(MANY)), "last"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_messages_of_one_call_share_writes(kind: str) -> None:
    async with either(kind, Tape()) as client:
        async with client.open(Tape.total) as numbers:
            await numbers.send(0)
            before = flushes(client)
            await numbers.send_many(range(500))
            await numbers.end()
            assert await numbers.receive() == sum(range(500))
            # The messages, the end, and credit for received messages.
            assert flushes(client) - before < 12


@pytest.mark.parametrize("make", [list, tuple, lambda numbers: numbers, lambda numbers: array("q", numbers)])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_list_as_the_stream_shares_writes(kind: str, make: Callable[[range], Iterable[int]]) -> None:
    async with either(kind, Tape()) as client:
        await client.call(Tape.total, [1])
        before = flushes(client)
        assert await client.call(Tape.total, make(range(500))) == sum(range(500))
        assert flushes(client) - before < 12


async def test_a_generator_sends_each_message_at_once_from_a_blocking_client() -> None:
    async with either("sync", Tape()) as client:
        before = flushes(client)
        assert await client.call(Tape.total, (number for number in range(50))) == sum(range(50))
        assert flushes(client) - before >= 50


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_list_is_sent_while_answers_are_read(kind: str) -> None:
    words = [f"word {number}" for number in range(MANY)]
    async with either(kind, Tape()) as client:
        async with client.stream(Tape.shout, words) as loud:
            assert await taken(loud) == [word.upper() for word in words]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_list_of_messages_waits_for_room_as_single_messages_do(kind: str) -> None:
    served = Tape()
    async with either(kind, served) as client:
        async with client.open(Tape.late) as words:
            sent = asyncio.ensure_future(words.send_many(["x" * 10_000] * 1000))
            done, _ = await asyncio.wait([sent], timeout=0.3)
            assert not done
            served.read.set()
            await sent
            await words.end()
            assert await words.receive() == 1000


@pytest.mark.parametrize("kind", CLIENTS)
async def test_messages_before_one_that_cannot_be_encoded_are_sent_and_the_stream_continues(
    kind: str,
) -> None:
    served = Tape()
    async with either(kind, served) as client:
        async with client.open(Tape.kept) as words:
            with pytest.raises(EncodeError):
                await words.send_many(["one", "two", object(), "never"])
            await words.send("three")
            await words.end()
            assert await words.receive() == 3
    assert served.seen == ["one", "two", "three"]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_an_exception_of_the_iterable_comes_after_the_messages_before_it(kind: str) -> None:
    def broken() -> Iterable[str]:
        yield "one"
        raise LookupError("no more")

    served = Tape()
    async with either(kind, served) as client:
        async with client.open(Tape.kept) as words:
            with pytest.raises(LookupError, match="no more"):
                await words.send_many(broken())
            await words.end()
            assert await words.receive() == 1


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_list_with_a_message_that_cannot_be_encoded_ends_the_stream_with_its_error(kind: str) -> None:
    async with either(kind, Tape()) as client:
        with pytest.raises(EncodeError):
            await client.call("tape.total", iter([1, object()]))
        async with client.stream(Tape.shout, ["one", object()]) as words:
            with pytest.raises(EncodeError):
                await taken(words)


@pytest.mark.parametrize("kind", CLIENTS)
async def test_nothing_is_sent_after_the_end(kind: str) -> None:
    async with either(kind, Tape()) as client:
        async with client.open(Tape.total) as numbers:
            await numbers.end()
            with pytest.raises(RuntimeError, match="this side has ended the stream"):
                await numbers.send_many([1])
            assert await numbers.receive() == 0
        async with client.open(Tape.early) as words:
            assert await words.receive() == 1
            with pytest.raises(StreamEndedError, match="the server ended the stream"):
                await words.send_many(["late"])
        async with client.stream(Tape.shout, ["one"]) as words:
            with pytest.raises(RuntimeError, match="its iterable sends the messages"):
                await words.send_many(["two"])


async def test_a_message_of_a_generator_may_depend_on_the_arrival_of_the_one_before() -> None:
    served = Tape()

    def words() -> Iterator[str]:
        yield "one"
        yield "two" if served.came.wait(10) else "too late"

    async with either("sync", served) as client:
        async with client.open(Tape.kept) as stream:
            await stream.send_many(words())
            await stream.end()
            assert await stream.receive() == 2
    assert served.seen == ["one", "two"]


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("wrong", ["text", b"bytes", 7, None])
async def test_one_text_is_no_iterable_of_messages(kind: str, wrong: Any) -> None:
    async with either(kind, Tape()) as client:
        async with client.open(Tape.kept) as words:
            with pytest.raises(
                TypeError, match=f"send_many takes an iterable of messages, not {type(wrong).__name__}"
            ):
                await words.send_many(wrong)
            await words.end()
            assert await words.receive() == 0


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("make", [list, iter])
async def test_a_stream_that_never_began_says_why(
    kind: str, make: Callable[[list[str]], Iterable[str]]
) -> None:
    async with either(kind, Tape()) as client:
        words = client.open(Tape.kept)
        await words.aclose()
        with pytest.raises(CallError, match="was cancelled here"):
            await words.send_many(make(["one"]))

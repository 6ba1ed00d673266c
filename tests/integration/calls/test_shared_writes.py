"""When requests leave: short ones of one turn of the loop share writes, one that is alone waits for nothing."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest

import fastrpc
from fastrpc import Client
from tests.support.served import served

#: Three of them are more than waits for the end of a turn.
TEXT = "x" * 400


@fastrpc.service("echo")
class Echo:
    def __init__(self) -> None:
        self.released = asyncio.Event()

    @fastrpc.method
    async def text(self, text: str) -> str:
        return text

    @fastrpc.method
    async def large(self, data: bytes) -> int:
        return len(data)

    @fastrpc.method
    async def held(self) -> None:
        await self.released.wait()


class Writes:
    """A client of one connection, and how often that has written."""

    def __init__(self, client: Client, served: Echo) -> None:
        self.client = client
        self.served = served
        self._sender = client._pool.connections[0].sender
        self._seen = self._sender.flushes

    def since(self) -> int:
        """Return how often it has written since this was asked last."""
        before, self._seen = self._seen, self._sender.flushes
        return int(self._seen - before)

    def call(self, text: str = TEXT) -> asyncio.Task[str]:
        return asyncio.ensure_future(self.client.call(Echo.text, text))

    async def settle(self) -> None:
        """Make a turn of several calls, so that the next one is not taken for one that is alone."""
        await asyncio.gather(self.call(), self.call())
        self.since()


@asynccontextmanager
async def written(scheme: str = "tcp") -> AsyncIterator[Writes]:
    echo = Echo()
    async with served(echo, scheme=scheme) as target, Client(target) as client:
        await client.ready()
        yield Writes(client, echo)


async def slowly(awaitable: Awaitable[str]) -> str:
    """Await a call after blocking the loop, so that the turn lasts."""
    time.sleep(0.001)
    return await awaitable


def slow_turn(writes: Writes) -> list[asyncio.Task[str]]:
    """Make nine calls in one turn, each a millisecond after the other."""
    return [asyncio.ensure_future(slowly(writes.client.call(Echo.text, TEXT))) for _ in range(9)]


async def test_calls_of_a_short_turn_share_one_write() -> None:
    async with written() as writes:
        await writes.settle()
        # All of them start at one instant, as members of a batch do.
        await writes.client.call_many(Echo.text, [(TEXT,)] * 100)
        assert writes.since() == 1


async def test_calls_of_a_long_turn_leave_before_it_ends() -> None:
    async with written() as writes:
        await writes.settle()
        calls = slow_turn(writes)
        await asyncio.sleep(0)
        # One write with each third call.
        assert writes.since() == 3
        assert await asyncio.gather(*calls) == [TEXT] * 9


async def test_calls_of_a_long_turn_share_one_write_while_many_calls_are_in_flight() -> None:
    async with written() as writes:
        held = [asyncio.ensure_future(writes.client.call(Echo.held)) for _ in range(200)]
        await writes.settle()
        await asyncio.gather(*slow_turn(writes))
        assert writes.since() == 1
        writes.served.released.set()
        await asyncio.gather(*held)
        # The connection forgets soon that there were many.
        async with asyncio.timeout(60):
            while writes.since() < 2:
                await asyncio.gather(*slow_turn(writes))


@pytest.mark.one_loop
async def test_a_stream_that_collects_its_output_gets_all_calls_of_a_turn_at_once() -> None:
    async with written("memory") as writes:
        await writes.settle()
        await asyncio.gather(*slow_turn(writes))
        assert writes.since() == 1


async def test_calls_after_a_large_one_are_sent_with_it_when_the_turn_ends() -> None:
    async with written() as writes:
        await writes.settle()
        large = asyncio.ensure_future(writes.client.call(Echo.large, bytes(300_000)))
        calls = slow_turn(writes)
        await asyncio.sleep(0)
        assert writes.since() == 0
        assert await large == 300_000
        await asyncio.gather(*calls)


async def test_the_only_call_of_a_turn_is_sent_at_once() -> None:
    async with written() as writes:
        await writes.call()
        await writes.call()
        writes.since()
        alone = writes.call()
        await asyncio.sleep(0)
        # The turn in which it started is not over.
        assert writes.since() == 1
        await alone
        several = [writes.call() for _ in range(2)]
        await asyncio.sleep(0)
        # The first one was taken for another that is alone.
        assert writes.since() == 1
        await asyncio.gather(*several)
        assert writes.since() == 1
        several = [writes.call() for _ in range(2)]
        await asyncio.sleep(0)
        assert writes.since() == 0
        await asyncio.gather(*several)
        assert writes.since() == 1

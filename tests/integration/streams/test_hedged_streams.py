"""A second attempt of a stream during a slow first one: `FailBackup`, before the first message."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import Call, CallError, Client, Proceed, Status, current_call
from fastrpc.failmodes import FailBackup
from tests.support.called_feed import idle
from tests.support.served import served

pytestmark = pytest.mark.one_loop


class Race:
    """The common state of two servers: the first handlers to start are late, later ones are quick."""

    def __init__(self, late: int = 1) -> None:
        self.late = late
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.may_go_on = asyncio.Event()

    async def run(self, name: str) -> None:
        self.started.append(name)
        if len(self.started) <= self.late:
            try:
                await self.may_go_on.wait()
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise


@fastrpc.service("slow")
class Slow:
    def __init__(self, name: str, race: Race) -> None:
        self.name = name
        self.race = race

    @fastrpc.method(idempotent=True)
    async def names(self, limit: int) -> AsyncIterator[str]:
        await self.race.run(self.name)
        for _ in range(limit):
            yield self.name

    @fastrpc.method
    async def once(self) -> AsyncIterator[str]:
        await self.race.run(self.name)
        yield self.name

    @fastrpc.method(idempotent=True)
    async def announced(self) -> AsyncIterator[str]:
        """Send metadata at once, and messages late."""
        await current_call().send_metadata()
        await self.race.run(self.name)
        yield self.name

    @fastrpc.method(idempotent=True)
    async def total(self, numbers: AsyncIterator[int]) -> str:
        await self.race.run(self.name)
        async for _ in numbers:
            pass
        return self.name


@asynccontextmanager
async def hedging(race: Race, delay: float = 0.0, **options: Any) -> AsyncIterator[Client]:
    """Yield a client of two servers, connected to both."""
    async with served(Slow("a", race)) as first, served(Slow("b", race)) as second:
        async with Client([first, second], fail_mode=FailBackup(delay), **options) as client:
            await client.ready(timeout=10)
            while client.stats()["live"]["connections"] < 2:
                await asyncio.sleep(0)
            yield client


@pytest.mark.parametrize("use", ["async for", "receive", "receive_many", "headers"])
async def test_a_slow_stream_is_attempted_elsewhere_and_the_first_message_wins(use: str) -> None:
    race = Race()
    async with hedging(race) as client:
        async with client.stream(Slow.names, 3) as names:
            if use == "async for":
                found = [name async for name in names]
            else:
                first = await getattr(names, use)()
                found = [] if use == "headers" else first if isinstance(first, list) else [first]
                found += [name async for name in names]
            assert names.reply.attempts == 2
        late, quick = race.started
        assert found == [quick] * 3
        assert late != quick
        async with asyncio.timeout(10):
            while race.cancelled != [late]:
                await asyncio.sleep(0)
        await idle(client)


async def test_interceptors_see_a_hedged_stream_once() -> None:
    told: list[Any] = []

    async def note(call: Call, proceed: Proceed) -> Any:
        value = await proceed(call)
        told.append((call.status, call.attempt))
        return value

    async with hedging(Race(), interceptors=[note]) as client:
        assert len([name async for name in client.stream(Slow.names, 3)]) == 3
    assert told == [(Status.OK, 1)]


async def test_a_stream_that_is_quick_enough_is_attempted_once() -> None:
    race = Race(late=0)
    async with hedging(race, delay=30.0) as client, client.stream(Slow.names, 2) as names:
        assert [name async for name in names] == race.started * 2
        assert names.reply.attempts == 1
    assert len(race.started) == 1


async def test_metadata_counts_as_a_first_message() -> None:
    race = Race()
    async with hedging(race, delay=0.5) as client, client.stream(Slow.announced) as names:
        await names.headers()
        await asyncio.sleep(0.6)
        race.may_go_on.set()
        assert [name async for name in names] == race.started
    assert len(race.started) == 1


async def test_only_idempotent_streams_without_input_are_hedged() -> None:
    race = Race(late=2)
    async with hedging(race) as client:
        waiting = [
            asyncio.ensure_future(client.stream(Slow.once).receive()),
            asyncio.ensure_future(client.call(Slow.total, [1])),
        ]
        async with asyncio.timeout(10):
            while len(race.started) < 2:
                await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0.001)
        race.may_go_on.set()
        assert sorted(await asyncio.gather(*waiting)) == sorted(race.started)
    assert len(race.started) == 2


async def test_cancelling_a_hedged_stream_cancels_both_attempts() -> None:
    race = Race(late=2)
    async with hedging(race) as client:
        names = client.stream(Slow.names, 3)
        reading = asyncio.ensure_future(names.receive())
        async with asyncio.timeout(10):
            while len(race.started) < 2:
                await asyncio.sleep(0)
            names.cancel()
            with pytest.raises(CallError):
                await reading
            await names.aclose()
            while sorted(race.cancelled) != ["a", "b"]:
                await asyncio.sleep(0)
        await idle(client)

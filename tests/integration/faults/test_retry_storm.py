"""Three tiers, the last of which fails completely: it gets the offered load only, and calls succeed soon after."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fastrpc import CallError, Client
from tests.conftest import Scale
from tests.support.cluster import in_thread
from tests.support.open_loop import OpenLoop
from tests.support.tier import Tier, TierProcess, client_config

pytestmark = [pytest.mark.measures, pytest.mark.asyncio(loop_factories=["uvloop"])]

RATE = 1_000

#: The most that may arrive at the bottom for each call that is offered.
MOST_AMPLIFICATION = 1.25

#: How soon after the end of the outage all calls succeed.
NORMAL_SECONDS = 5.0

#: After this time without a failure everything works as before: breakers try again more often.
QUIET_SECONDS = 2.5


class Storm:
    """Calls from the top while the bottom misbehaves."""

    def __init__(self, client: Client, bottom: Client) -> None:
        self._client = client
        self._bottom = bottom
        #: The instants at which failed calls began, and the texts of their failures: without the errors, whose
        #: tracebacks hold every local object.
        self.failures: list[float] = []
        self.kinds: set[type[Exception]] = set()

    async def call(self, number: int) -> None:
        begun_at = time.monotonic()
        try:
            await self._client.call(Tier.work)
        except Exception as error:
            self.failures.append(begun_at)
            self.kinds.add(type(error))

    async def amplification(self, load: OpenLoop, mode: str, seconds: float) -> float:
        """Let the bottom misbehave for a time; return how many calls came there for each that was offered."""
        await self._bottom.call(Tier.behave, mode)
        arrived, offered = await self._bottom.call(Tier.arrived), load.offered
        await asyncio.sleep(seconds)
        arrived, offered = await self._bottom.call(Tier.arrived) - arrived, load.offered - offered
        await self._bottom.call(Tier.behave, "well")
        return arrived / offered

    async def seconds_until_normal(self) -> float:
        """Return how long after now the last call began that failed."""
        ended_at = time.monotonic()
        while True:
            last = max(self.failures, default=ended_at)
            quiet = time.monotonic() - max(last, ended_at)
            if quiet > QUIET_SECONDS or last > ended_at + NORMAL_SECONDS:
                return max(0.0, last - ended_at)
            await asyncio.sleep(QUIET_SECONDS - quiet + 0.01)


@contextlib.asynccontextmanager
async def tiers(folder: Path, *, breaker: bool) -> AsyncIterator[tuple[Storm, OpenLoop]]:
    """Run three tiers with two addresses each under load."""
    async with contextlib.AsyncExitStack() as stack:
        following: list[str] = []
        for _ in range(3):
            process = TierProcess(folder, following, breaker=breaker)
            stack.callback(process.kill)
            await in_thread(process.start)
            if not following:
                bottom = await stack.enter_async_context(Client(process.addresses[0]))
            following = process.addresses
        client = await stack.enter_async_context(Client(following, config=client_config(breaker=breaker)))
        await client.ready()
        storm = Storm(client, bottom)
        load = await stack.enter_async_context(OpenLoop(RATE, storm.call))
        await asyncio.sleep(1.0)
        assert storm.failures == []
        yield storm, load


async def test_breakers_keep_the_load_away_and_allow_it_soon_after(tmp_path: Path, scale: Scale) -> None:
    async with tiers(tmp_path, breaker=True) as (storm, load):
        for mode in ("unavailable", "refusing"):
            before = len(storm.failures)
            assert await storm.amplification(load, mode, scale(4)) <= MOST_AMPLIFICATION
            assert len(storm.failures) > before
            assert await storm.seconds_until_normal() <= NORMAL_SECONDS


async def test_without_breakers_the_budget_alone_bounds_the_load(tmp_path: Path, scale: Scale) -> None:
    async with tiers(tmp_path, breaker=False) as (storm, load):
        amplification = await storm.amplification(load, "unavailable", scale(4))
        assert await storm.seconds_until_normal() <= NORMAL_SECONDS
    # There were retries, or this would tell nothing, and they were made by one tier only.
    assert 1.05 < amplification <= MOST_AMPLIFICATION
    assert storm.kinds == {CallError}

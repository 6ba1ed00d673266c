"""Servers that answer one call in a hundred slowly: a second request cuts that off, if it is allowed."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client
from fastrpc.failmodes import FailBackup
from tests.conftest import Scale
from tests.support.cluster import in_thread
from tests.support.open_loop import OpenLoop
from tests.support.slow_server import SLOW_SECONDS, Slow, SlowServer

pytestmark = [pytest.mark.measures, pytest.mark.asyncio(loop_factories=["uvloop"])]

RATE = 1_000

CALLS = 2_000

#: How soon after the winner's answer was sent the other server knows that nobody waits for it.
TOLD_SECONDS = 0.05


@contextlib.asynccontextmanager
async def servers(folder: Path, **options: int) -> AsyncIterator[list[str]]:
    """Run three servers; yield their addresses."""
    with contextlib.ExitStack() as stack:
        processes = [SlowServer(folder, **options) for _ in range(3)]
        for process in processes:
            stack.callback(process.kill)
        await asyncio.gather(*(in_thread(process.start) for process in processes))
        yield [process.address for process in processes]


async def measured(addresses: list[str], fail_mode: str, method: Any, count: int) -> tuple[float, float]:
    """Return the 99th percentile of the seconds that calls take, and the attempts for each."""
    seconds: list[float] = []

    async def call(number: int) -> None:
        begun = time.perf_counter()
        await client.call(method, number)
        seconds.append(time.perf_counter() - begun)

    async with Client(addresses, fail_mode=fail_mode) as client:
        await client.ready()
        before = await total_started(client)
        async with OpenLoop(RATE, call):
            await asyncio.sleep(count / RATE)
        attempts = await total_started(client) - before
    return sorted(seconds)[len(seconds) * 99 // 100], attempts / len(seconds)


async def total_started(client: Client) -> int:
    return sum(await of_all(client, Slow.started))


async def of_all(client: Client, method: Any) -> list[Any]:
    """Ask every server."""
    replies = await client.broadcast(method)
    return [reply.value for reply in replies.values()]  # type: ignore[union-attr]


async def test_hedging_cuts_off_slow_answers_with_few_more_calls(tmp_path: Path, scale: Scale) -> None:
    async with servers(tmp_path) as addresses:
        plain, attempts = await measured(addresses, "failover", Slow.again, scale(CALLS))
        assert plain > 0.9 * SLOW_SECONDS
        assert attempts == 1.0
        hedged, attempts = await measured(addresses, "failbackup", Slow.again, scale(CALLS))
        assert hedged <= 0.3 * plain
        assert 1.0 < attempts <= 1.1


async def test_loser_is_told_within_50_ms(tmp_path: Path, scale: Scale) -> None:
    answered_at: dict[int, float] = {}
    hedged: set[int] = set()

    async def call(number: int) -> None:
        reply = await client.request(Slow.again, number)
        answered_at[number] = reply.value
        if reply.attempts == 2:
            hedged.add(number)

    async with servers(tmp_path, slow_every=10) as addresses:
        async with Client(addresses, fail_mode=FailBackup(delay=0.02)) as client:
            await client.ready()
            async with OpenLoop(RATE, call):
                await asyncio.sleep(scale(CALLS) / RATE)
            slow = Counter(number for numbers in await of_all(client, Slow.slow) for number in numbers)
            given_up = dict(told for list_ in await of_all(client, Slow.given_up) for told in list_)
    # Where the second attempt was slow as well, either of them may have won.
    losers = {number for number in hedged if slow[number] == 1}
    assert len(losers) > 0.05 * CALLS
    assert losers - given_up.keys() == set()
    in_time = [number for number in losers if given_up[number] - answered_at[number] <= TOLD_SECONDS]
    # A machine with much else to do holds up one of four processes for longer now and then.
    assert len(in_time) >= 0.99 * len(losers)


async def test_methods_that_may_not_run_twice_are_not_hedged(tmp_path: Path, scale: Scale) -> None:
    async with servers(tmp_path) as addresses:
        seconds, attempts = await measured(addresses, "failbackup", Slow.once, scale(CALLS))
    assert seconds > 0.9 * SLOW_SECONDS
    assert attempts == 1.0

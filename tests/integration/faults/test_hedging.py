"""Servers of which one answer in a hundred is slow: a second request cuts that off, where it may be made."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Client
from tests.conftest import Scale
from tests.support.cluster import in_thread
from tests.support.open_loop import OpenLoop
from tests.support.slow_server import SLOW_SECONDS, Slow, SlowServer

pytestmark = [pytest.mark.measures, pytest.mark.asyncio(loop_factories=["uvloop"])]

RATE = 500

CALLS = 2_000


@contextlib.asynccontextmanager
async def servers(folder: Path) -> AsyncIterator[list[str]]:
    """Run three servers; yield their addresses."""
    with contextlib.ExitStack() as stack:
        processes = [SlowServer(folder) for _ in range(3)]
        for process in processes:
            stack.callback(process.kill)
        await asyncio.gather(*(in_thread(process.start) for process in processes))
        yield [process.address for process in processes]


async def measured(addresses: list[str], fail_mode: str, method: Any, count: int) -> tuple[float, float]:
    """Return the 99th percentile of the seconds that calls take, and the attempts for each."""
    seconds: list[float] = []

    async def call(number: int) -> None:
        begun = time.perf_counter()
        await client.call(method)
        seconds.append(time.perf_counter() - begun)

    async with Client(addresses, fail_mode=fail_mode) as client:
        await client.ready()
        before = await total_started(client)
        async with OpenLoop(RATE, call):
            await asyncio.sleep(count / RATE)
        attempts = await total_started(client) - before
    return sorted(seconds)[len(seconds) * 99 // 100], attempts / len(seconds)


async def total_started(client: Client) -> int:
    replies = await client.broadcast(Slow.started)
    return sum(reply.value for reply in replies.values())  # type: ignore[union-attr]


async def test_hedging_cuts_off_slow_answers_with_few_more_calls(tmp_path: Path, scale: Scale) -> None:
    async with servers(tmp_path) as addresses:
        plain, attempts = await measured(addresses, "failover", Slow.again, scale(CALLS))
        assert plain > 0.9 * SLOW_SECONDS
        assert attempts == 1.0
        hedged, attempts = await measured(addresses, "failbackup", Slow.again, scale(CALLS))
        assert hedged <= 0.3 * plain
        assert 1.0 < attempts <= 1.1


async def test_what_may_not_run_twice_is_not_hedged(tmp_path: Path, scale: Scale) -> None:
    async with servers(tmp_path) as addresses:
        seconds, attempts = await measured(addresses, "failbackup", Slow.once, scale(CALLS))
    assert seconds > 0.9 * SLOW_SECONDS
    assert attempts == 1.0

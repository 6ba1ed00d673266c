"""Servers that restart, in order or killed, while calls continue: the same on every registry."""

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from fastrpc import Client
from tests.support.cluster import cluster, in_thread
from tests.support.descriptors import open_descriptors
from tests.support.ledger import differences
from tests.support.noted import Noted
from tests.support.noted_calls import NotedCalls
from tests.support.open_loop import OpenLoop
from tests.support.waiting import eventually

__all__ = ["killed_in_turn", "restarted_in_turn"]

#: Calls per second.
RATE = 1_000

METHODS = (Noted.again, Noted.once, Noted.again, Noted.lasting)


async def restarted_in_turn(
    registry: Any, folder: Path, *, restarts: int, rate: float = RATE, announce: float = 0.0
) -> tuple[NotedCalls, Path]:
    """Restart three servers one by one, in order, under load of calls; half of the calls may not run twice."""
    async with cluster(registry, folder, announce=announce) as servers:
        async with _calling(registry, rate) as calls:
            for number in range(restarts):
                await servers.restart(servers.members[number % 3])
        return calls, servers.journal


async def killed_in_turn(
    registry: Any, folder: Path, *, kills: int, every_seconds: float
) -> tuple[NotedCalls, Path]:
    """Kill one of three servers again and again under load, and start it again each time.

    The next one is killed after `every_seconds`, and not before the client is connected to the last one again: so two
    servers run, on a slow machine too. The client decides when calls go there: the calls that were under way at the
    kill failed in a row, for which an endpoint is ejected for a while.
    """
    async with cluster(registry, folder) as servers:
        async with _calling(registry, RATE) as calls:
            for number in range(kills):
                due = time.monotonic() + every_seconds
                member = servers.members[number % 3]
                await in_thread(member.kill)
                await in_thread(member.start)
                await eventually(lambda: calls.client.stats()["live"]["connections"] == 3)
                await asyncio.sleep(max(0.0, due - time.monotonic()))
        return calls, servers.journal


@contextlib.asynccontextmanager
async def _calling(registry: Any, rate: float) -> AsyncIterator[NotedCalls]:
    """Keep calls running; afterwards the client has to be in its earlier state (L6)."""
    async with Client("noted", registry=registry.url) as client:
        await client.ready()
        await eventually(lambda: client.stats()["live"]["connections"] == 3 and not _is_connecting())
        gc.collect()
        base = _held(client)
        calls = NotedCalls(client, METHODS)
        async with OpenLoop(rate, calls):
            yield calls
        with contextlib.suppress(TimeoutError):
            await eventually(lambda: not _left(base, client))
        left = _left(base, client)
        assert not left, left


def _is_connecting() -> bool:
    return any(task.get_name().startswith("fastrpc connect") for task in asyncio.all_tasks())


def _left(base: dict[str, Any], client: Client) -> list[str]:
    """Return the resources held beyond the base. Resources that other tests left open may be closed since."""
    held = _held(client)
    held["descriptors"] = max(held["descriptors"], base["descriptors"])
    return differences(base, held)


def _held(client: Client) -> dict[str, Any]:
    """Return the resources that calls hold while they run."""
    stats = client.stats()
    endpoint_set = client._state.endpoint_set
    assert endpoint_set is not None
    return {
        "live": stats["live"],
        "buffered": stats["buffered"],
        "placements": sum(endpoint_state.in_flight for endpoint_state in endpoint_set.endpoint_states),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": open_descriptors(),
    }

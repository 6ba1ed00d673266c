"""The client of the promise about selectors, in a process of its own; prints what it measured as JSON.

python -m bench.promises.spread "REGISTRY ADDRESS…" SECONDS PAIRS
    32 B echoes, 64 in flight, by hand to one fixed address after the other and through registry and each selector, in
    turn: calls per second, a list for each selector and each way
"""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

import fastrpc
from bench.promises.caller import CALLERS, SMALL
from bench.promises.server import Promised
from fastrpc.selectors.base import selector_names

__all__ = ["KEYED"]

#: Until every caller is under way; each slice begins anew.
WARM_SECONDS = 0.02

#: Where each call has another key, which a view of the client carries.
KEYED = "consistent_hash, a new key each"

#: Rates by hand, and through registry and selector.
Rates = dict[str, tuple[list[float], list[float]]]


async def measure(clients: Sequence[fastrpc.Client], seconds: float, *, keyed: bool) -> float:
    """Return the calls per second of tasks that make one call after the other, to one client after the other."""
    completed = 0
    running = True
    turns = itertools.cycle(clients)
    keys = itertools.count()

    async def call_repeatedly() -> None:
        nonlocal completed
        while running:
            await next(turns).call(Promised.echo, SMALL)
            completed += 1

    async def call_with_keys() -> None:
        nonlocal completed
        while running:
            await next(turns).with_options(hash_key=next(keys)).call(Promised.echo, SMALL)
            completed += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call_with_keys() if keyed else call_repeatedly())
        await asyncio.sleep(WARM_SECONDS)
        first, started = completed, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (completed - first) / (time.perf_counter() - started)
        running = False
    return rate


async def connected(client: fastrpc.Client, count: int) -> None:
    """Return once a client that goes round has reached so many endpoints."""
    await client.ready(timeout=10)
    async with asyncio.timeout(10):
        while client.stats()["live"]["connections"] < count:
            await client.call(Promised.echo, SMALL)


async def run(registry: str, addresses: Sequence[str], seconds: float, pairs: int) -> Rates:
    """Measure each selector against the same calls by hand; which goes first alternates."""
    async with AsyncExitStack() as stack:
        by_hand = [await stack.enter_async_context(fastrpc.Client(address)) for address in addresses]
        for client in by_hand:
            await client.ready(timeout=10)
        chosen = {}
        for name in (*selector_names(), KEYED):
            selector = name.partition(",")[0]
            client = fastrpc.Client("bench", registry=registry, selector=selector)
            chosen[name] = [await stack.enter_async_context(client)] * len(addresses)
            await connected(client, len(addresses))
        rates: Rates = {name: ([], []) for name in chosen}
        for number in range(pairs):
            for name, clients in chosen.items():
                for way in (number % 2, 1 - number % 2):
                    rate = await measure((by_hand, clients)[way], seconds, keyed=name == KEYED)
                    rates[name][way].append(rate)
    return rates


def main(places: str, seconds: str, pairs: str) -> None:
    """Print the rates as one line of JSON."""
    registry, *addresses = places.split()
    print(json.dumps(uvloop.run(run(registry, addresses, float(seconds), int(pairs)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""The client of the promise about selectors, in a separate process; prints its measurements as JSON.

python -m bench.promises.spread tasks "REGISTRY ADDRESS…" SECONDS PAIRS
    32 B echoes, 64 in flight, by hand to one fixed address after the other and through registry and each selector, in
    turn: calls per second, a list for each way of calling and each side. By hand no call has a key; through a selector
    all are measured without and, from a view for each call, with another key each.
python -m bench.promises.spread threads "REGISTRY ADDRESS…" SECONDS PAIRS
    the same with SyncClient and 64 threads
python -m bench.promises.spread services "REGISTRY ADDRESS…" SECONDS PAIRS
    the same of a Client, and of a Services in both of its ways
"""

import asyncio
import itertools
import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack

import uvloop

import fastrpc
from bench.promises.caller import CALLERS, SMALL
from bench.promises.server import Promised
from fastrpc.selectors.base import selector_names

__all__ = ["KEYED", "SERVICES_CALL", "SERVICES_VIEW"]

#: Wait until every caller is under way; each slice begins again.
WARM_SECONDS = 0.02

#: The suffix of a selector's name if each call has another key, carried by a view of the client.
KEYED = " with a key each"

#: The ways of calling a service of a Services.
SERVICES_VIEW, SERVICES_CALL = 'services["bench"]', "services.call"

#: Rates by hand, and through registry and selector; or of a Client, and of a Services.
Rates = dict[str, tuple[list[float], list[float]]]


async def measure(
    clients: Sequence[fastrpc.Client | fastrpc.Services], seconds: float, *, keyed: bool
) -> float:
    """Return the calls per second of tasks that make one call after another, to one client after another."""
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


def measure_blocking(clients: Sequence[fastrpc.SyncClient], seconds: float, *, keyed: bool) -> float:
    """Return the calls per second of threads that make one call after another, to one client after another."""
    completed = [0] * CALLERS
    over = threading.Event()

    def call_repeatedly(number: int) -> None:
        turns = itertools.cycle(clients)
        while not over.is_set():
            next(turns).call(Promised.echo, SMALL)
            completed[number] += 1

    def call_with_keys(number: int) -> None:
        turns, keys = itertools.cycle(clients), itertools.count(number << 32)
        while not over.is_set():
            next(turns).with_options(hash_key=next(keys)).call(Promised.echo, SMALL)
            completed[number] += 1

    body = call_with_keys if keyed else call_repeatedly
    callers = [threading.Thread(target=body, args=(number,)) for number in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(WARM_SECONDS)
    first, started = sum(completed), time.perf_counter()
    time.sleep(seconds)
    rate = (sum(completed) - first) / (time.perf_counter() - started)
    over.set()
    for caller in callers:
        caller.join()
    return rate


async def connected(client: fastrpc.Client, count: int) -> None:
    """Return once a client that calls servers by turns has reached the given number of endpoints."""
    await client.ready(timeout=10)
    async with asyncio.timeout(10):
        while client.stats()["live"]["connections"] < count:
            await client.call(Promised.echo, SMALL)


def connected_blocking(client: fastrpc.SyncClient, count: int) -> None:
    """Return once a blocking client that calls servers by turns has reached the given number of endpoints."""
    client.ready(timeout=10)
    until = time.monotonic() + 10
    while client.stats()["live"]["connections"] < count:
        if time.monotonic() > until:
            raise TimeoutError(f"{client!r} did not reach {count} endpoints")
        client.call(Promised.echo, SMALL)


def slices(pairs: int) -> Iterator[tuple[str, str, int]]:
    """Yield the measurements: the way of calling, its selector, the side; which side is first alternates."""
    for number in range(pairs):
        for selector in selector_names():
            for way in (selector, selector + KEYED):
                for side in (number % 2, 1 - number % 2):
                    yield way, selector, side


async def run(registry: str, addresses: Sequence[str], seconds: float, pairs: int) -> Rates:
    """Measure each selector against the same calls by hand."""
    async with AsyncExitStack() as stack:
        by_hand = [await stack.enter_async_context(fastrpc.Client(address)) for address in addresses]
        for client in by_hand:
            await client.ready(timeout=10)
        chosen = {}
        for name in selector_names():
            client = fastrpc.Client("bench", registry=registry, selector=name)
            chosen[name] = [await stack.enter_async_context(client)] * len(addresses)
            await connected(client, len(addresses))
        rates: Rates = {}
        for way, selector, side in slices(pairs):
            clients, keyed = (chosen[selector], way.endswith(KEYED)) if side else (by_hand, False)
            rates.setdefault(way, ([], []))[side].append(await measure(clients, seconds, keyed=keyed))
    return rates


async def run_services(registry: str, seconds: float, pairs: int) -> Rates:
    """Measure both ways of a Services against a Client of the one service."""
    async with fastrpc.Client("bench", registry=registry) as client, fastrpc.Services(registry) as services:
        ways: dict[str, fastrpc.Client | fastrpc.Services] = {
            SERVICES_VIEW: services["bench"],
            SERVICES_CALL: services,
        }
        for each in (client, *ways.values()):
            await measure([each], WARM_SECONDS, keyed=False)
        rates: Rates = {way: ([], []) for way in ways}
        for number in range(pairs):
            for way, called in ways.items():
                for side in (number % 2, 1 - number % 2):
                    rates[way][side].append(await measure([called if side else client], seconds, keyed=False))
    return rates


def run_blocking(registry: str, addresses: Sequence[str], seconds: float, pairs: int) -> Rates:
    """Measure each selector of a blocking client against the same calls by hand."""
    with ExitStack() as stack:
        by_hand = [stack.enter_context(fastrpc.SyncClient(address)) for address in addresses]
        for client in by_hand:
            client.ready(timeout=10)
        chosen = {}
        for name in selector_names():
            client = fastrpc.SyncClient("bench", registry=registry, selector=name)
            chosen[name] = [stack.enter_context(client)] * len(addresses)
            connected_blocking(client, len(addresses))
        rates: Rates = {}
        for way, selector, side in slices(pairs):
            clients, keyed = (chosen[selector], way.endswith(KEYED)) if side else (by_hand, False)
            rates.setdefault(way, ([], []))[side].append(measure_blocking(clients, seconds, keyed=keyed))
    return rates


def main(kind: str, places: str, seconds: str, pairs: str) -> None:
    """Print the rates as one line of JSON."""
    registry, *addresses = places.split()
    if kind == "threads":
        rates = run_blocking(registry, addresses, float(seconds), int(pairs))
    elif kind == "services":
        rates = uvloop.run(run_services(registry, float(seconds), int(pairs)))
    else:
        rates = uvloop.run(run(registry, addresses, float(seconds), int(pairs)))
    print(json.dumps(rates), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Calls to servers with limits, as processes: `python -m bench.promises.limited SERVER`, and `… ADDRESS MEASURE`.

A server is `rated PORT WORKERS`, `adaptive`, `unlimited` or `per_peer`; the measurements are printed as JSON.
"""

import asyncio
import json
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.promises.server import read_all_input
from fastrpc.limits import ConcurrencyLimit, RateLimit

#: Calls that the server processes at once, and for how long; together they give its highest rate.
WIDTH = 8
WORK_SECONDS = 0.01
CAPACITY = WIDTH / WORK_SECONDS

RATE = 1_000
BURST = 100
DEADLINE = 0.25

#: Calls a second that a greedy peer may make, that it makes, and that the other peers make: a third of a server's
#: capacity.
PEER_RATE = 200
PEER_BURST = 10
GREEDY_RATE = 2_000
BATCH = 20
OTHERS_RATE = 600
ROUNDS = 5


@fastrpc.service("limited")
class Limited:
    """Processes a few calls at once; further calls wait for each other."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(WIDTH)

    @fastrpc.method
    async def rated(self) -> None:
        """Do nothing."""

    @fastrpc.method
    async def work(self) -> None:
        async with self._places:
            await asyncio.sleep(WORK_SECONDS)

    @fastrpc.method
    async def limited_work(self) -> None:
        """Compute, for callers that have a limit."""
        compute()

    @fastrpc.method
    async def other_work(self) -> None:
        """Compute, for the other calls."""
        compute()


def compute() -> None:
    """Keep the processor busy for half a millisecond."""
    until = time.perf_counter() + 0.000_5
    while time.perf_counter() < until:
        pass


LIMITS: dict[str, list[Any]] = {
    "adaptive": [ConcurrencyLimit("adaptive")],
    "unlimited": [],
    "per_peer": [RateLimit(PEER_RATE, PEER_BURST, per="peer", methods="limited.limited_work")],
}


async def serve(kind: str) -> None:
    """Serve on both loopback addresses until standard input closes."""
    async with fastrpc.Server(Limited, limits=LIMITS[kind]) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        announce(str(address))
        await server.listen(f"tcp://[::1]:{address.port}")
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def serve_rated(port: str, workers: str) -> None:
    """Serve with several processes until a signal."""
    limits = [RateLimit(RATE, BURST, methods="limited.rated")]
    fastrpc.serve(Limited, address=f"tcp://127.0.0.1:{port}", workers=int(workers), limits=limits)


class Counted:
    """The outcomes of calls: when successful ones ended, and the durations of refusals."""

    def __init__(self) -> None:
        self.good: list[float] = []
        self.took: list[float] = []
        self.refusals: list[float] = []
        self.failures: list[float] = []

    async def make(self, call: Callable[[], Awaitable[Any]]) -> None:
        began = time.perf_counter()
        try:
            await call()
        except fastrpc.OverloadedError:
            self.refusals.append(time.perf_counter() - began)
        except fastrpc.FastRPCError:
            self.failures.append(time.perf_counter())
        else:
            self.good.append(time.perf_counter())
            self.took.append(self.good[-1] - began)


async def offered(rate: float, seconds: float, call: Callable[[], Awaitable[Any]]) -> Counted:
    """Make calls at a rate, with any outcome."""
    counted, tasks, made = Counted(), set(), 0
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds:
        while made < passed * rate:
            made += 1
            task = asyncio.ensure_future(counted.make(call))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    return counted


async def closed(callers: int, seconds: float, call: Callable[[], Awaitable[Any]]) -> Counted:
    """Let callers make one call after the other."""
    counted, until = Counted(), time.perf_counter() + seconds

    async def call_on() -> None:
        while time.perf_counter() < until:
            await counted.make(call)

    await asyncio.gather(*(call_on() for _ in range(callers)))
    return counted


async def rated(address: str, seconds: float) -> dict[str, float]:
    """Return how many calls a second pass, over as many connections as reach each worker."""
    clients = [fastrpc.Client(address) for _ in range(16)]
    for client in clients:
        await client.__aenter__()
        await client.ready(timeout=20)
    began = time.perf_counter()
    found = await asyncio.gather(
        *(closed(4, seconds, impatient(client, "limited.rated")) for client in clients)
    )
    took = time.perf_counter() - began
    for client in clients:
        await client.close()
    return {"passed": sum(len(each.good) for each in found) / took, "seconds": took}


async def overload(address: str, seconds: float) -> dict[str, float]:
    """Return the goodput at the capacity and at three times of it, and the durations of refusals and normal calls."""
    async with fastrpc.Client(address) as client:
        await client.ready(timeout=20)
        call = impatient(client, "limited.work", timeout=DEADLINE)
        peak = len((await closed(2 * WIDTH, 2.0, call)).good) / 2.0
        over = await offered(3 * CAPACITY, seconds, call)
        after_began = time.perf_counter()
        after = await offered(0.5 * CAPACITY, 3.0, call)
    refusals = sorted(over.refusals) or [0.0]
    bad = [*after.failures, *([after_began] * bool(after.refusals))]
    return {
        "peak": peak,
        "goodput": len(over.good) / seconds,
        "refusal_p50": statistics.median(refusals),
        "refusal_p99": refusals[int(len(refusals) * 0.99)],
        "refused": len(over.refusals),
        "late": len(over.failures),
        "normal_after": max(bad, default=after_began) - after_began,
        "refused_after": len(after.refusals),
    }


async def greedy(address: str, seconds: float) -> dict[str, float]:
    """Return the other callers' 99th percentile: alone, during a caller that keeps its limit, during a greedy one."""
    found: dict[str, list[float]] = {"alone": [], "beside_modest": [], "beside": [], "passed": []}
    async with fastrpc.Client(address) as others:
        await others.ready(timeout=20)
        call = impatient(others, "limited.other_work")
        for _ in range(ROUNDS):
            found["alone"].append(percentile(await at_random(OTHERS_RATE, seconds / ROUNDS, call)))
            for rate, kind in ((PEER_RATE, "beside_modest"), (GREEDY_RATE, "beside")):
                async with hammering(address, rate, seconds / ROUNDS + 0.5) as other:
                    found[kind].append(percentile(await at_random(OTHERS_RATE, seconds / ROUNDS, call)))
                    passed = json.loads(await other.readline())["passed"]
            found["passed"].append(passed)
    # The least value of the rounds: other programs of the machine only add to the values.
    return {kind: min(each) for kind, each in found.items()}


@asynccontextmanager
async def hammering(address: str, rate: int, seconds: float) -> AsyncIterator[asyncio.StreamReader]:
    """Run another process that calls as another peer, from before the block to after it; yield its output."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.promises.limited", address.replace("127.0.0.1", "[::1]")),
        *("hammer", str(seconds), str(rate)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    yield process.stdout
    await process.wait()


async def at_random(rate: float, seconds: float, call: Callable[[], Awaitable[Any]]) -> Counted:
    """Make calls at independent instants, like many callers, the same ones each time."""
    instants, due, counted, tasks = random.Random(1), time.perf_counter(), Counted(), set()
    until = due + seconds
    while (due := due + instants.expovariate(rate)) < until:
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        tasks.add(asyncio.ensure_future(counted.make(call)))
    await asyncio.gather(*tasks)
    return counted


def percentile(counted: Counted) -> float:
    """Return the time that 99 of 100 calls kept; all calls have to pass."""
    if counted.refusals or counted.failures:
        raise RuntimeError(f"{len(counted.refusals)} refused, {len(counted.failures)} failed")
    return statistics.quantiles(counted.took, n=100)[98]


async def hammer(address: str, seconds: float, rate: float) -> dict[str, float]:
    """Make the given number of calls a second, in batches; print a line once the calls have begun.

    This client gives way on the core that it shares with the client of the other callers: only the server's own
    division counts.
    """
    os.nice(19)
    async with fastrpc.Client(address) as client:
        await client.ready(timeout=20)
        view, began, passed, made = client.with_options(fail_mode="failfast"), time.perf_counter(), 0, 0
        print("{}", flush=True)
        while (now := time.perf_counter()) < began + seconds:
            if made <= (now - began) * rate:
                found = await view.call_many("limited.limited_work", [()] * BATCH, return_exceptions=True)
                passed += sum(one is None for one in found)
                made += BATCH
            else:
                await asyncio.sleep(made / rate - (now - began))
    return {"passed": passed / seconds}


def impatient(client: fastrpc.Client, method: str, **options: Any) -> Callable[[], Awaitable[Any]]:
    """Return the function that makes one attempt of a call."""
    view = client.with_options(fail_mode="failfast", **options)
    return lambda: view.call(method)


MEASURES: dict[str, Callable[..., Coroutine[Any, Any, dict[str, float]]]] = {
    "rated": rated,
    "overload": overload,
    "greedy": greedy,
    "hammer": hammer,
}

if __name__ == "__main__":
    if sys.argv[1] == "rated":
        serve_rated(*sys.argv[2:])
    elif sys.argv[1] in LIMITS:
        uvloop.run(serve(sys.argv[1]))
    else:
        print(json.dumps(uvloop.run(MEASURES[sys.argv[2]](sys.argv[1], *map(float, sys.argv[3:])))))

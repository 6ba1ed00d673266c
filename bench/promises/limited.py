"""Calls to servers with limits, as processes: `python -m bench.promises.limited SERVER`, and `… ADDRESS MEASURE`.

A server is `rated PORT WORKERS`, `adaptive`, `unlimited` or `per_peer`; what is measured is printed as JSON.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.promises.server import read_all_input
from fastrpc.limits import ConcurrencyLimit, RateLimit

#: Calls that the server works on at once, and for how long: so many a second are all it can do.
WIDTH = 8
WORK_SECONDS = 0.01
CAPACITY = WIDTH / WORK_SECONDS

RATE = 1_000
BURST = 100
DEADLINE = 0.25

#: Calls a second that one peer may make, and that a greedy one makes.
PEER_RATE = 200
GREEDY_RATE = 2_000
BATCH = 20


@fastrpc.service("limited")
class Limited:
    """Works on a few calls at once; further ones wait for each other."""

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
    async def compute(self) -> None:
        """Keep the processor busy for half a millisecond."""
        until = time.perf_counter() + 0.000_5
        while time.perf_counter() < until:
            pass


LIMITS: dict[str, list[Any]] = {
    "adaptive": [ConcurrencyLimit("adaptive")],
    "unlimited": [],
    "per_peer": [RateLimit(PEER_RATE, 100, per="peer", methods="limited.compute")],
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
    """What became of calls: when those that succeeded ended, how long refusals took."""

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
    """Make calls at a rate, whatever becomes of them."""
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
    """Return the goodput at the capacity and at three times of it, and what refusals and normal times are like."""
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
    """Return the 99th percentile of a modest caller, alone and beside a process that asks for far too much."""
    alone, beside, passed = [], [], []
    async with fastrpc.Client(address) as modest:
        await modest.ready(timeout=20)
        call = impatient(modest, "limited.compute")
        for _ in range(3):
            alone.append(percentile(await offered(0.75 * PEER_RATE, seconds / 3, call)))
            other = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "bench.promises.limited", address.replace("127.0.0.1", "[::1]")),
                *("hammer", str(seconds / 3 + 1)),
                stdout=asyncio.subprocess.PIPE,
            )
            assert other.stdout is not None
            await other.stdout.readline()
            beside.append(percentile(await offered(0.75 * PEER_RATE, seconds / 3, call)))
            passed.append(json.loads(await other.stdout.readline())["passed"])
            await other.wait()
    return {
        "alone": statistics.median(alone),
        "beside": statistics.median(beside),
        "passed": statistics.median(passed),
    }


def percentile(counted: Counted) -> float:
    """Return the time that 99 of 100 calls kept, all of which have to pass."""
    if counted.refusals or counted.failures:
        raise RuntimeError(f"{len(counted.refusals)} refused, {len(counted.failures)} failed")
    return statistics.quantiles(counted.took, n=100)[98]


async def hammer(address: str, seconds: float) -> dict[str, float]:
    """Ask for ten times the limit; print a line once it has begun."""
    async with fastrpc.Client(address) as client:
        await client.ready(timeout=20)
        print("{}", flush=True)
        view, began, passed = client.with_options(fail_mode="failfast"), time.perf_counter(), 0
        # In batches: they cost the machine less than the calls of the other one.
        while time.perf_counter() < began + seconds:
            found = await view.call_many("limited.compute", [()] * BATCH, return_exceptions=True)
            passed += sum(one is None for one in found)
            await asyncio.sleep(BATCH / GREEDY_RATE)
    return {"passed": passed / seconds}


def impatient(client: fastrpc.Client, method: str, **options: Any) -> Callable[[], Awaitable[Any]]:
    """Return what makes one attempt of a call."""
    view = client.with_options(fail_mode="failfast", **options)
    return lambda: view.call(method)


if __name__ == "__main__":
    if sys.argv[1] == "rated":
        serve_rated(*sys.argv[2:])
    elif sys.argv[1] in LIMITS:
        uvloop.run(serve(sys.argv[1]))
    else:
        measure = {"rated": rated, "overload": overload, "greedy": greedy, "hammer": hammer}[sys.argv[2]]
        print(json.dumps(uvloop.run(measure(sys.argv[1], float(sys.argv[3])))))

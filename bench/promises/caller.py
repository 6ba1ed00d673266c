"""The client under test, in a separate process; prints its measurements as JSON.

python -m bench.promises.caller rate ADDRESS SECONDS WAITING
    32 B echoes, 64 in flight, beside so many calls that wait with a deadline: calls per second
python -m bench.promises.caller traced ADDRESS SECONDS WAITING
    the same with the interceptor OpenTelemetry; `recorded` has the SDK as well
python -m bench.promises.caller turns "ADDRESS ADDRESS" SECONDS PAIRS
    the same of two servers in turn, nothing waiting: calls per second, a list for each
python -m bench.promises.caller latency ADDRESS SECONDS CALLS_PER_SECOND LARGE
    32 B echoes at a fixed rate, beside so many 1 MiB calls in flight on the same connection: p50 and p99 in seconds,
    from the instant at which each call was to start
"""

import asyncio
import gc
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvloop

import fastrpc
from bench.compare.measurement import percentile
from bench.promises.server import Promised
from fastrpc import interceptors

CALLERS = 64
WARM_SECONDS = 0.3

#: Seconds before each turn of two warm servers, until every caller is under way.
TURN_SECONDS = 0.02

SMALL, LARGE = b"x" * 32, b"x" * 2**20

#: Waiting calls begun at the same time.
TOGETHER = 1_000

#: A deadline that no measurement reaches.
DEADLINE_SECONDS = 600.0


async def measure_rate(
    client: fastrpc.Client, seconds: float, *, warm: float = WARM_SECONDS
) -> dict[str, float]:
    """Load with tasks that each make one call after the other."""
    completed = 0
    running = True

    async def call_repeatedly() -> None:
        nonlocal completed
        while running:
            await client.call(Promised.echo, SMALL)
            completed += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(CALLERS):
            callers.create_task(call_repeatedly())
        await asyncio.sleep(warm)
        first, started = completed, time.perf_counter()
        await asyncio.sleep(seconds)
        rate = (completed - first) / (time.perf_counter() - started)
        running = False
    return {"calls_per_second": rate}


async def measure_in_turn(addresses: Sequence[str], seconds: float, pairs: int) -> dict[str, list[float]]:
    """Return the rates of two servers; which one is first alternates."""
    rates: list[list[float]] = [[], []]
    async with fastrpc.Client(addresses[0]) as one, fastrpc.Client(addresses[1]) as other:
        clients = (one, other)
        for client in clients:
            await client.ready(timeout=10)
            await measure_rate(client, WARM_SECONDS)
        for number in range(pairs):
            for side in (number % 2, 1 - number % 2):
                measured = await measure_rate(clients[side], seconds, warm=TURN_SECONDS)
                rates[side].append(measured["calls_per_second"])
    return {"first": rates[0], "second": rates[1]}


async def measure_latency(client: fastrpc.Client, seconds: float, rate: int) -> dict[str, float]:
    """Start calls at a fixed rate, even if earlier ones are unanswered."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    total = int((WARM_SECONDS + seconds) * rate)
    started = 0
    over = asyncio.Event()
    begin = time.perf_counter()

    async def call(due: float) -> None:
        await client.call(Promised.echo, SMALL)
        latencies.append(time.perf_counter() - due)
        if len(latencies) == total:
            over.set()

    calls: set[asyncio.Task[None]] = set()

    def start_due() -> None:
        nonlocal started
        while started < total and (due := begin + started / rate) <= time.perf_counter():
            started += 1
            task = loop.create_task(call(due))
            calls.add(task)
            task.add_done_callback(calls.discard)

    # A loop's timers are rounded to milliseconds; the system's are not.
    loop.add_signal_handler(signal.SIGALRM, start_due)
    signal.setitimer(signal.ITIMER_REAL, 1 / rate, 1 / rate)
    async with asyncio.timeout(seconds * 2 + 20):
        await over.wait()
    signal.setitimer(signal.ITIMER_REAL, 0)
    counted = sorted(latencies[int(WARM_SECONDS * rate) :])
    return {"p50": percentile(counted, 0.5), "p99": percentile(counted, 0.99)}


@asynccontextmanager
async def waiting_calls(client: fastrpc.Client, count: int) -> AsyncIterator[None]:
    """Keep so many calls with a deadline unanswered while the block runs."""
    patient = client.with_options(timeout=DEADLINE_SECONDS)
    calls: list[asyncio.Future[None]] = []
    while len(calls) < count:
        calls += [asyncio.ensure_future(patient.call(Promised.wait)) for _ in range(min(TOGETHER, count))]
        # An answer after them: by then the server holds each. More at once would find its queue full.
        await client.call(Promised.echo, SMALL)
    # Python's collector visits all of these objects again and again unless they are frozen. A program can freeze them,
    # so this cost is not measured here.
    await patient.call(Promised.freeze)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


@asynccontextmanager
async def large_calls(client: fastrpc.Client, in_flight: int) -> AsyncIterator[None]:
    """Make 1 MiB calls one after the other while the block runs."""
    completed = 0

    async def call_repeatedly() -> None:
        nonlocal completed
        while True:
            await client.call(Promised.echo, LARGE)
            completed += 1

    calls = [asyncio.ensure_future(call_repeatedly()) for _ in range(in_flight)]
    try:
        yield
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    if in_flight and not completed:
        raise RuntimeError("no large call ended")


async def run(
    kind: str, address: str, seconds: float, *numbers: int
) -> dict[str, float] | dict[str, list[float]]:
    """Run the measurement of the command line."""
    if kind == "turns":
        return await measure_in_turn(address.split(), seconds, *numbers)
    # Made on use: its package takes memory.
    if kind == "recorded":
        from bench.promises.tracing import start_sdk

        start_sdk()
    around = [interceptors.OpenTelemetry()] if kind in ("traced", "recorded") else []
    async with fastrpc.Client(address, interceptors=around) as client:
        await client.ready(timeout=10)
        if kind in ("rate", "traced", "recorded"):
            async with waiting_calls(client, *numbers):
                return await measure_rate(client, seconds)
        rate, in_flight = numbers
        async with large_calls(client, in_flight):
            return await measure_latency(client, seconds, rate)


def main(kind: str, address: str, seconds: str, *numbers: str) -> None:
    """Print the measurement as one line of JSON."""
    print(json.dumps(uvloop.run(run(kind, address, float(seconds), *map(int, numbers)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

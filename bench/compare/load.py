"""The load generator: closed loop, one caller per call in flight, the same for every Python peer.

Callers run until the window is over; the window's ends are readings of a shared counter, so calls that
straddle an end are neither lost nor waited for.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from bench.compare.measurement import LoadOrder, Measurement, ProcessorClocks, measured
from bench.compare.workloads import WORKLOADS, Workload

__all__ = [
    "LONGER_SECONDS",
    "STALL_SECONDS",
    "AsyncOperation",
    "BlockingOperation",
    "WrongAnswerError",
    "check_answer",
    "drive_tasks",
    "drive_threads",
]

#: The longest time of an operation before the client fails instead of hanging.
STALL_SECONDS = 15.0

#: Seconds by which a window is extended if no call has ended in it.
LONGER_SECONDS = 0.02

Result = TypeVar("Result")


class WrongAnswerError(Exception):
    """The peer answered something else than the workload asks for."""


def _as_it_is(answer: Any) -> Any:
    return answer


@dataclass(frozen=True)
class _Operation(Generic[Result]):
    #: A complete operation: builds its arguments, calls, returns the answer.
    run: Callable[[], Result]
    #: Turns the answer into plain values; used once, to check it.
    plain: Callable[[Any], Any] = _as_it_is


AsyncOperation = _Operation[Awaitable[Any]]
BlockingOperation = _Operation[Any]


def check_answer(answer: Any, workload: Workload) -> None:
    """Raise WrongAnswerError unless this is the answer that the workload expects."""
    if answer != workload.expected:
        raise WrongAnswerError(f"{workload.name}: expected {workload.expected!r:.100}, got {answer!r:.100}")


async def drive_tasks(operation: AsyncOperation, order: LoadOrder) -> Measurement:
    """Load with one asyncio task per call in flight, each awaiting one operation after the other."""
    workload = WORKLOADS[order.workload]
    every = workload.sample_every
    clocks = ProcessorClocks(order.server_processes)
    latencies: list[float] = []
    completed = 0
    running = True

    async def call_until_stopped(index: int) -> None:
        nonlocal completed
        run, clock, sample = operation.run, time.perf_counter, latencies.append
        # Callers time different operations of theirs, so that samples spread over the window.
        untimed = index % every
        while running:
            for _ in range(untimed):
                await run()
                completed += 1
            started = clock()
            await run()
            sample(clock() - started)
            completed += 1
            untimed = every - 1

    async with asyncio.timeout(order.warm_seconds + order.seconds + STALL_SECONDS):
        check_answer(operation.plain(await operation.run()), workload)
        async with asyncio.TaskGroup() as callers:
            for index in range(workload.in_flight):
                callers.create_task(call_until_stopped(index))
            await asyncio.sleep(order.warm_seconds)
            latencies.clear()
            first = clocks.read(completed)
            await _window(order.seconds, lambda: completed > first.completed)
            last = clocks.read(completed)
            running = False
    return measured(first, last, workload.batch, latencies)


async def _window(seconds: float, has_ended: Callable[[], bool]) -> None:
    """Wait for the end of a window. On a busy machine no call may have ended by then: it is extended until one has."""
    await asyncio.sleep(seconds)
    while not has_ended():  # noqa: ASYNC110 - to set an event would cost every call
        await asyncio.sleep(LONGER_SECONDS)


def drive_threads(connect: Callable[[], BlockingOperation], order: LoadOrder) -> Measurement:
    """Load with one thread per call in flight; each thread asks `connect` for its own operation."""
    workload = WORKLOADS[order.workload]
    clocks = ProcessorClocks(order.server_processes)
    latencies: list[float] = []
    completed = [0] * workload.in_flight
    failures: list[BaseException] = []
    stop = threading.Event()
    connected = threading.Barrier(workload.in_flight + 1)

    def call_until_stopped(index: int) -> None:
        try:
            operation = connect()
            check_answer(operation.plain(operation.run()), workload)
            connected.wait(STALL_SECONDS)
            run, clock, sample = operation.run, time.perf_counter, latencies.append
            untimed = index % workload.sample_every
            while not stop.is_set():
                for _ in range(untimed):
                    run()
                    completed[index] += 1
                started = clock()
                run()
                sample(clock() - started)
                completed[index] += 1
                untimed = workload.sample_every - 1
        except BaseException as error:
            failures.append(error)
            connected.abort()
            stop.set()

    with _threads(call_until_stopped, workload.in_flight, failures), suppress(threading.BrokenBarrierError):
        connected.wait(STALL_SECONDS)
        stop.wait(order.warm_seconds)
        latencies.clear()
        first = clocks.read(sum(completed))
        _thread_window(order.seconds, stop, lambda: sum(completed) > first.completed)
        last = clocks.read(sum(completed))
        stop.set()
    return measured(first, last, workload.batch, latencies)


def _thread_window(seconds: float, stop: threading.Event, has_ended: Callable[[], bool]) -> None:
    """Wait for the end of a window as `_window` does, but for no stalled peer."""
    stop.wait(seconds)
    until = time.monotonic() + STALL_SECONDS
    while not has_ended() and not stop.is_set() and time.monotonic() < until:
        stop.wait(LONGER_SECONDS)


@contextmanager
def _threads(work: Callable[[int], None], count: int, failures: list[BaseException]) -> Iterator[None]:
    """Run `work` in this many threads; at the end of the block wait for them and raise their first failure."""
    threads = [threading.Thread(target=work, args=(index,), daemon=True) for index in range(count)]
    for thread in threads:
        thread.start()
    yield
    limit = time.monotonic() + STALL_SECONDS
    for thread in threads:
        thread.join(max(0.0, limit - time.monotonic()))
    if failures:
        raise failures[0]
    if any(thread.is_alive() for thread in threads):
        raise TimeoutError(f"callers still wait {STALL_SECONDS:g} s after the window")

"""The load at a fixed rate, the same for every Python peer on an event loop.

An open loop starts each call when it is due, whatever became of those before. A latency counts from the instant at
which its call was due, so a stall counts for every call that it delays. The generator looks at the clock in each turn
of its event loop and never sleeps, because the timers of event loops are as coarse as a millisecond.
"""

import asyncio
import gc
import math
import time

from bench.compare.load import STALL_SECONDS, AsyncOperation, check_answer
from bench.compare.measurement import LoadOrder, Measurement, ProcessorClocks, measured
from bench.compare.workloads import WORKLOADS

__all__ = ["OverloadedError", "drive_at_rate"]

#: The calls of so many seconds may be unanswered. Where more are, the peer does not keep up, and latencies tell nothing
#: but the time since the beginning.
MOST_UNANSWERED_SECONDS = 1.0


class OverloadedError(Exception):
    """The peer answers fewer calls in a second than are due."""


async def drive_at_rate(operation: AsyncOperation, order: LoadOrder) -> Measurement:
    """Load with one asyncio task for each call, started when it is due; every call of the window is waited for."""
    workload = WORKLOADS[order.workload]
    clocks = ProcessorClocks(order.server_processes)
    async with asyncio.timeout(order.warm_seconds + order.seconds + STALL_SECONDS):
        check_answer(operation.plain(await operation.run()), workload)
        # As docs/guide/tuning.md advises: a full collection would stop the generator for 10 to 30 ms.
        gc.collect()
        gc.freeze()
        schedule = _Schedule(operation, workload.rate)
        await schedule.run_for(order.warm_seconds)
        schedule.begin_window()
        first = clocks.read(schedule.completed)
        await schedule.run_for(order.seconds)
        last = clocks.read(schedule.completed)
        await schedule.wait_for_answers()
    return measured(first, last, workload.batch, schedule.latencies)


class _Schedule:
    """Calls and when each of them is due. A TaskGroup would cost as much as the calls."""

    def __init__(self, operation: AsyncOperation, rate: int) -> None:
        self._run = operation.run
        self._rate = rate
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._failure: BaseException | None = None
        self._began = time.perf_counter()
        self._window_began = math.inf
        self._started = 0
        self.completed = 0
        #: Of the calls that were due since the window began, in the order of their answers.
        self.latencies: list[float] = []

    def begin_window(self) -> None:
        """Time the calls that are due from now on."""
        self._window_began = time.perf_counter()

    async def run_for(self, seconds: float) -> None:
        """Start the calls that become due within so many seconds."""
        create_task = asyncio.get_running_loop().create_task
        until = time.perf_counter() + seconds
        while True:
            # What became due before the end starts, however late the generator is.
            now = min(time.perf_counter(), until)
            # A call is due from its number / rate on.
            for number in range(self._started, int((now - self._began) * self._rate) + 1):
                self._calls[number] = create_task(self._call(number))
                self._started = number + 1
            self._check()
            if now == until:
                return
            await asyncio.sleep(0)

    async def wait_for_answers(self) -> None:
        """Wait until every call that was started is answered."""
        while self._calls:
            self._check()
            await asyncio.sleep(0)
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if len(self._calls) > MOST_UNANSWERED_SECONDS * self._rate:
            raise OverloadedError(f"{len(self._calls):,} calls are unanswered at {self._rate:,} calls/s")

    async def _call(self, number: int) -> None:
        try:
            await self._run()
        except BaseException as error:
            self._failure = error
        else:
            self.completed += 1
            due = self._began + number / self._rate
            if due >= self._window_began:
                self.latencies.append(time.perf_counter() - due)
        finally:
            del self._calls[number]

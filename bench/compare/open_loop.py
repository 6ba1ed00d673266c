"""The load at a fixed rate, the same for every Python peer on an event loop.

An open loop starts each call when it is due, even if earlier calls are unanswered. A latency counts from the instant at
which its call was due, so a stall counts for every call that it delays. The generator reads the clock in each turn of
its event loop, and after each answer, and never sleeps, because the timers of event loops are as coarse as a
millisecond.
"""

import asyncio
import gc
import math
import time

from bench.compare.load import STALL_SECONDS, AsyncOperation, check_answer
from bench.compare.measurement import LoadOrder, Measurement, ProcessorClocks, measured
from bench.compare.workloads import WORKLOADS

__all__ = ["OverloadedError", "drive_at_rate"]

#: The calls of this number of seconds may be unanswered. If more are, the peer does not keep up, and its latencies only
#: show the time since the start.
MOST_UNANSWERED_SECONDS = 1.0


class OverloadedError(Exception):
    """The peer answers fewer calls in a second than are due."""


async def drive_at_rate(operation: AsyncOperation, order: LoadOrder) -> Measurement:
    """Load with calls that are started when they are due; every call of the window is waited for."""
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
    """Calls with their due times, and the tasks that make them.

    Tasks are kept: making one for each call was a third of the generator's work, and most programs call from existing
    tasks. A free task makes the next call if that is due; another task is added when none is free.
    """

    def __init__(self, operation: AsyncOperation, rate: int) -> None:
        self._run = operation.run
        self._rate = rate
        self._tasks: list[asyncio.Task[None]] = []
        #: The future of each free task: the number of its next call, None at the end.
        self._free: list[asyncio.Future[int | None]] = []
        self._failure: BaseException | None = None
        self._began = time.perf_counter()
        self._window_began = math.inf
        #: Calls that are due until then may start.
        self._until = self._began
        self._started = 0
        self.completed = 0
        #: For the calls that were due since the window began, in the order of their answers.
        self.latencies: list[float] = []

    def begin_window(self) -> None:
        """Time the calls that are due from now on."""
        self._window_began = time.perf_counter()

    async def run_for(self, seconds: float) -> None:
        """Start the calls that become due within so many seconds."""
        self._until = until = time.perf_counter() + seconds
        while True:
            # Calls that became due before the end start, even if the generator is late.
            now = min(time.perf_counter(), until)
            while self._began + self._started / self._rate <= now:
                self._start_next()
            self._check()
            if now == until:
                return
            await asyncio.sleep(0)

    async def wait_for_answers(self) -> None:
        """Wait until every call that was started is answered, and end the tasks."""
        while self.completed < self._started:
            self._check()
            await asyncio.sleep(0)
        self._check()
        while self._free:
            self._free.pop().set_result(None)
        await asyncio.gather(*self._tasks)

    def _start_next(self) -> None:
        """Let a task make the next call: a free one, or a new one."""
        if self._free:
            self._free.pop().set_result(self._started)
        else:
            self._tasks.append(asyncio.create_task(self._make_calls(self._started)))
        self._started += 1

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        unanswered = self._started - self.completed
        if unanswered > MOST_UNANSWERED_SECONDS * self._rate:
            raise OverloadedError(f"{unanswered:,} calls are unanswered at {self._rate:,} calls/s")

    async def _make_calls(self, number: int | None) -> None:
        # Locals, and no functions of its own: at 175,000 calls/s the generator has 5.7 µs for each.
        clock, run, sample = time.perf_counter, self._run, self.latencies.append
        new_future = asyncio.get_running_loop().create_future
        began, rate = self._began, self._rate
        try:
            while number is not None:
                await run()
                now = clock()
                self.completed += 1
                due = began + number / rate
                if due >= self._window_began:
                    sample(now - due)
                number = self._started
                due = began + number / rate
                if due <= now and due <= self._until:
                    self._started = number + 1
                else:
                    free = new_future()
                    self._free.append(free)
                    number = await free
        except BaseException as error:
            self._failure = error

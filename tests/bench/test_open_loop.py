import asyncio
import os
import time
from dataclasses import replace
from typing import Any

import pytest

from bench.compare import open_loop
from bench.compare.load import AsyncOperation, WrongAnswerError
from bench.compare.measurement import LoadOrder
from bench.compare.open_loop import OverloadedError, drive_at_rate

RATE = 5_000
ECHO = b"x" * 32
ORDER = LoadOrder(
    address="", workload="tail@5000", warm_seconds=0.02, seconds=0.1, server_processes=(os.getpid(),)
)


class Echo:
    """Counts its calls, and how many run at once."""

    def __init__(self, answer: Any = ECHO) -> None:
        self._answer = answer
        self.calls = 0
        self.in_flight = 0
        self.most_in_flight = 0

    async def call(self) -> Any:
        self.calls += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await self.work()
        self.in_flight -= 1
        return self._answer

    async def work(self) -> None:
        """Take no time."""


class Slow(Echo):
    """Answers each call but the first after 10 ms, in which other calls start."""

    async def work(self) -> None:
        if self.calls > 1:
            await asyncio.sleep(0.01)


class Stalled(Echo):
    """Holds the loop up with one of its calls."""

    async def work(self) -> None:
        if self.calls == RATE // 20:
            time.sleep(0.05)


class Dead(Echo):
    """Answers the first call, which is checked, and no other."""

    async def work(self) -> None:
        if self.calls > 1:
            await asyncio.Event().wait()


class Failing(Echo):
    async def work(self) -> None:
        if self.calls > 10:
            raise ConnectionResetError


async def test_calls_start_when_they_are_due_whether_or_not_earlier_calls_have_ended() -> None:
    slow = Slow()
    measurement = await drive_at_rate(AsyncOperation(slow.call), ORDER)
    assert slow.most_in_flight > 10
    assert slow.in_flight == 0
    assert measurement.samples > 0


async def test_a_call_starts_at_the_instant_at_which_it_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) / 10_000)
    measurement = await drive_at_rate(AsyncOperation(Echo().call), replace(ORDER, warm_seconds=0.0))
    # The clock moves by half the time between two calls whenever somebody looks at it.
    assert measurement.p50_seconds < 1 / RATE


async def test_every_call_that_is_due_in_the_window_is_timed() -> None:
    echo = Echo()
    measurement = await drive_at_rate(AsyncOperation(echo.call), ORDER)
    assert RATE * ORDER.seconds - 1 <= measurement.samples < echo.calls


async def test_a_stall_counts_for_each_call_that_it_delays() -> None:
    order = replace(ORDER, warm_seconds=0.0)
    measurement = await drive_at_rate(AsyncOperation(Stalled().call), order)
    # Half of the window passes in the stall.
    assert measurement.p99_seconds > 0.04
    assert measurement.p50_seconds < measurement.p99_seconds


async def test_a_peer_that_does_not_keep_up_ends_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_loop, "MOST_UNANSWERED_SECONDS", 0.01)
    with pytest.raises(OverloadedError, match="calls are unanswered at 5,000 calls/s"):
        await drive_at_rate(AsyncOperation(Dead().call), ORDER)


async def test_a_failing_call_ends_the_load() -> None:
    with pytest.raises(ConnectionResetError):
        await drive_at_rate(AsyncOperation(Failing().call), ORDER)


async def test_a_wrong_answer_ends_the_load() -> None:
    with pytest.raises(WrongAnswerError, match="tail@5000: expected b'xxx"):
        await drive_at_rate(AsyncOperation(Echo(b"something else").call), ORDER)


async def test_a_task_that_has_its_answer_makes_the_next_call_that_is_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    callers = set()
    monkeypatch.setattr(time, "perf_counter", lambda: now)

    async def call() -> bytes:
        nonlocal now
        callers.add(asyncio.current_task())
        await asyncio.sleep(0)
        # With each answer the next call is due.
        now += 1.001 / RATE
        return ECHO

    measurement = await drive_at_rate(AsyncOperation(call), ORDER)
    assert measurement.samples > 400
    # The first call, which is checked, is not the schedule's.
    assert len(callers) == 2

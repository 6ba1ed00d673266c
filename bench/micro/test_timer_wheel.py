"""Timer wheel: the cost of a deadline if the call ends in time, and if it does not.

pytest bench/micro/test_timer_wheel.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.base.timer_wheel import Schedule, TimerWheel
from fastrpc_harness import hot_loops

CALLS = 20_000
SECOND = 10**9
NOW = 1_234_567 * SECOND


@pytest.mark.parametrize("live", [0, 1_000, 100_000])
def test_add_and_cancel(measure_per_call: MeasurePerCall, live: int) -> None:
    schedule = Schedule(NOW)
    for number in range(live):
        schedule.schedule(NOW + 5 * SECOND + number * 50_000, number)
    measure_per_call(lambda: hot_loops.add_and_cancel(schedule.wheel, CALLS, NOW + 5 * SECOND), CALLS)


@pytest.mark.parametrize("span_ms", [200, 5_000, 60_000])
def test_add_and_expire(measure_per_call: MeasurePerCall, span_ms: int) -> None:
    """Let timers cascade through up to none, one and two levels; the cost includes the ticks that pass."""

    def expire_all() -> None:
        hot_loops.expire(TimerWheel(NOW), CALLS, NOW, span_ms * 1_000_000)

    measure_per_call(expire_all, CALLS)


@pytest.mark.parametrize("distance_ms", [5, 5_000])
def test_next_due_time(measure_per_call: MeasurePerCall, distance_ms: int) -> None:
    """Find the next used slot, called from Python: an empty method costs about 40 ns of it."""
    schedule = Schedule(NOW)
    schedule.schedule(NOW + distance_ms * 1_000_000, None)

    def ask() -> None:
        for _ in range(CALLS):
            schedule.next_due_ns()

    measure_per_call(ask, CALLS)

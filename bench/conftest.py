"""What the suites share: a benchmark whose report tells the time of one call."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

#: (work, calls it makes): run the work a few times and report it per call.
MeasurePerCall = Callable[[Callable[[], Any], int], None]


@pytest.fixture
def measure_per_call(benchmark: BenchmarkFixture) -> MeasurePerCall:
    """Measure work that makes many calls; the time of one is `nanoseconds_per_call` in the extra info."""

    def measure(work: Callable[[], Any], calls: int) -> None:
        benchmark.pedantic(work, rounds=20, warmup_rounds=2)  # type: ignore[no-untyped-call]
        if benchmark.stats is not None:  # None with --benchmark-disable
            benchmark.extra_info["nanoseconds_per_call"] = round(
                benchmark.stats.stats.median / calls * 1e9, 1
            )

    return measure

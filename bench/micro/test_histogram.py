"""Method counters: the cost of counting a call, and of reading the counters.

pytest bench/micro/test_histogram.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.base.histogram import CounterRegistry, MethodCounters
from fastrpc.metrics import collector
from fastrpc_harness import hot_loops

CALLS = 20_000
METHODS = 100


@pytest.fixture
def counters() -> MethodCounters:
    return MethodCounters("bench.echo", "server")


@pytest.mark.parametrize("elapsed_ns", [100, 50_000, 10**11])
def test_count_a_call(measure_per_call: MeasurePerCall, counters: MethodCounters, elapsed_ns: int) -> None:
    measure_per_call(lambda: hot_loops.count_calls(counters, CALLS, elapsed_ns), CALLS)


def test_quantile(measure_per_call: MeasurePerCall, counters: MethodCounters) -> None:
    hot_loops.count_calls(counters, CALLS, 50_000)
    measure_per_call(lambda: counters.quantile(0.99), 1)


def test_snapshot(measure_per_call: MeasurePerCall, counters: MethodCounters) -> None:
    hot_loops.count_calls(counters, CALLS, 50_000)
    measure_per_call(counters.snapshot, 1)


def test_scrape_of_one_method(measure_per_call: MeasurePerCall) -> None:
    registry = CounterRegistry()
    for number in range(METHODS):
        hot_loops.count_calls(registry.counters(f"bench.method{number}", "server"), 100, 50_000)
    scraped = collector(registry)
    measure_per_call(lambda: list(scraped.collect()), METHODS)

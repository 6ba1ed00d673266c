"""Call table: one add and one take, which every call makes.

pytest bench/micro/test_call_table.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.native.call_table import CallTable
from fastrpc_harness import hot_loops
from fastrpc_harness.reached_table import ReachedTable

CALLS = 20_000


@pytest.mark.parametrize("in_flight", [1, 64, 512, 4_096])
def test_add_and_take(measure_per_call: MeasurePerCall, in_flight: int) -> None:
    table = CallTable()
    measure_per_call(lambda: hot_loops.add_and_take(table, CALLS, 1, in_flight, None), CALLS + in_flight)


@pytest.mark.parametrize("streams", [1_000, 10_000])
def test_add_and_take_beside_open_streams(measure_per_call: MeasurePerCall, streams: int) -> None:
    reached = ReachedTable()
    for identifier in range(1, 2 * streams, 2):
        reached[identifier] = None
    table = reached.table
    measure_per_call(lambda: hot_loops.add_and_take(table, CALLS, 2 * streams + 1, 64, None), CALLS + 64)


def test_burst_grows_the_table_and_gives_it_back(measure_per_call: MeasurePerCall) -> None:
    table = CallTable()
    measure_per_call(lambda: hot_loops.add_and_take(table, 0, 1, CALLS, None), CALLS)

"""Parts of the core, one by one, each in a loop in C: what a call pays for them.

pytest bench/test_micro.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.call_table import CallTable
from fastrpc._core.histogram import MethodCounters
from fastrpc._core.prescan import prescan_payload
from fastrpc._core.timer_wheel import TimerWheel
from fastrpc.codecs.base import codec_named

CALLS = 100_000


@pytest.mark.parametrize("in_flight", [1, 64, 4096])
def test_call_table_adds_and_takes(measure_per_call: MeasurePerCall, in_flight: int) -> None:
    table, entry = CallTable(), object()
    measure_per_call(lambda: table._measure_add_take(CALLS, 1, in_flight, entry), CALLS)


def test_timer_wheel_adds_and_cancels(measure_per_call: MeasurePerCall) -> None:
    wheel = TimerWheel()
    measure_per_call(lambda: wheel._measure_add_cancel(CALLS, 5_000_000_000), CALLS)


def test_counters_count_a_call(measure_per_call: MeasurePerCall) -> None:
    counters = MethodCounters("bench.echo", "server")
    measure_per_call(lambda: counters._measure_calls(CALLS, 50_000), CALLS)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_prescan_reads_nested_values(measure_per_call: MeasurePerCall, codec: str) -> None:
    scanned = codec_named(codec)
    payload = scanned.encode([{"id": number, "tags": ["a", "b", "c"]} for number in range(1_000)])

    def scan() -> None:
        assert prescan_payload(scanned.wire_id, payload)[0] == "ok"

    measure_per_call(scan, 1)

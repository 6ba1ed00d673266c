"""Parts of the core, one by one, each in a loop in C: their cost for a call.

pytest bench/test_micro.py
"""

from typing import Any

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.base.histogram import MethodCounters
from fastrpc._core.base.timer_wheel import TimerWheel
from fastrpc._core.native.call_table import CallTable
from fastrpc._core.payload.prescan import prescan_payload
from fastrpc._core.wire.native import NativeProtocol
from fastrpc.codecs.base import codec_named
from fastrpc_harness import hot_loops
from fastrpc_harness.echo_connection import EchoConnection

CALLS = 100_000

# A call with two small numbers and its answer, as on the wire.
REQUEST = {
    "kind": 0x82,
    "id": 1,
    "codec": 1,
    "timeout_us": 10**6,
    "method": b"arith.mul",
    "payload": b"\x92\x06\x07",
}
RESPONSE = {"kind": 0x83, "id": 1, "codec": 1, "elapsed_us": 250, "payload": b"\x2a"}


@pytest.mark.parametrize("in_flight", [1, 64, 4096])
def test_call_table_adds_and_takes(measure_per_call: MeasurePerCall, in_flight: int) -> None:
    table, entry = CallTable(), object()
    measure_per_call(lambda: hot_loops.add_and_take(table, CALLS, 1, in_flight, entry), CALLS)


@pytest.mark.parametrize("fields", [REQUEST, RESPONSE], ids=["request", "response"])
def test_native_parses_a_small_frame(measure_per_call: MeasurePerCall, fields: dict[str, Any]) -> None:
    protocol = NativeProtocol()
    protocol.peer_parity = 1 if fields is REQUEST else 0
    frame = protocol.encode(fields)

    def parse() -> None:
        assert hot_loops.parse_frames(protocol, CALLS, frame) == CALLS * len(frame)

    measure_per_call(parse, CALLS)


@pytest.mark.parametrize("fields", [REQUEST, RESPONSE], ids=["request", "response"])
def test_native_writes_a_small_frame(measure_per_call: MeasurePerCall, fields: dict[str, Any]) -> None:
    protocol = NativeProtocol()
    protocol.peer_parity = 1 if fields is REQUEST else 0
    frame = protocol.encode(fields)

    def write() -> None:
        assert hot_loops.write_frames(protocol, CALLS, frame) == CALLS * len(frame)

    measure_per_call(write, CALLS)


@pytest.mark.parametrize("batch", [1, 64])
def test_core_carries_a_call_there_and_back(measure_per_call: MeasurePerCall, batch: int) -> None:
    client, server = EchoConnection(is_client=True), EchoConnection(is_client=False)
    client.exchange(server)
    count = CALLS // batch * batch

    def call() -> None:
        assert client.make_calls(server, count, batch, b"\x92\x06\x07") == count

    measure_per_call(call, count)


def test_timer_wheel_adds_and_cancels(measure_per_call: MeasurePerCall) -> None:
    wheel = TimerWheel()
    measure_per_call(lambda: hot_loops.add_and_cancel(wheel, CALLS, 5_000_000_000), CALLS)


def test_counters_count_a_call(measure_per_call: MeasurePerCall) -> None:
    counters = MethodCounters("bench.echo", "server")
    measure_per_call(lambda: hot_loops.count_calls(counters, CALLS, 50_000), CALLS)


@pytest.mark.parametrize("codec", ["msgpack", "json"])
def test_prescan_reads_nested_values(measure_per_call: MeasurePerCall, codec: str) -> None:
    scanned = codec_named(codec)
    payload = scanned.encode([{"id": number, "tags": ["a", "b", "c"]} for number in range(1_000)])

    def scan() -> None:
        assert prescan_payload(scanned.wire_id, payload)[0] == "ok"

    measure_per_call(scan, 1)

"""The memory of the core: nothing of an ended call, and for a message at most its received bytes."""

import gc
import sys
import tracemalloc

import pytest

from fastrpc._core.native.outgoing import Outgoing
from fastrpc_harness.recording import RecordedCall, RecordingConnection
from tests.support.engine import client, engine_settings, server
from tests.support.frame_factory import answer, cut, header, opening, piece, request
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT, Kind
from tests.support.wire_reference import Cancel, Credit, Data, End, Request, Setting

METHOD = b"arith.mul"
MIB = 2**20


def alive(kind: type) -> int:
    gc.collect()
    return sum(type(found) is kind for found in gc.get_objects())


def test_ended_calls_leave_no_state() -> None:
    before = alive(RecordedCall), alive(Outgoing)
    connection = server()
    for call in range(1, 400, 8):
        connection.receive_data(request(call))
        connection.respond(call, bytes(100_000))
        connection.receive_data(request(call + 2, flags=FLAG_STREAM_OUT))
        connection.push_message(call + 2, bytes(100_000))
        connection.receive_data(Cancel(call + 2).encode())
        connection.respond_error(call + 2, 1)
        connection.receive_data(request(call + 4, metadata=b"\0"))
        connection.receive_data(request(call + 6, b"x", total=100) + Cancel(call + 6).encode())
        connection.data_to_send()
    assert connection.calls == []
    assert (alive(RecordedCall), alive(Outgoing)) == before


def test_ended_own_calls_leave_no_state() -> None:
    before = alive(RecordedCall), alive(Outgoing)
    connection = client()
    for call in range(1, 400, 4):
        connection.open_call(METHOD, bytes(100_000))
        connection.cancel(connection.open_call(METHOD, flags=FLAG_STREAM_IN))
        connection.data_to_send()
        connection.receive_data(answer(call, b"x") + answer(call + 2, status=1))
    assert connection.calls == []
    assert (alive(RecordedCall), alive(Outgoing)) == before


def test_connection_dropped_in_mid_operation_leaves_no_garbage() -> None:
    before = alive(RecordedCall), alive(Outgoing), alive(RecordingConnection)
    for connection in (server(), server()):
        connection.receive_data(
            request(1, flags=FLAG_STREAM_IN | FLAG_STREAM_OUT) + request(3, b"x", total=9_999)
        )
        connection.receive_data(
            Data(1, b"x", total=20_000, more=True).encode() + header(Kind.REQUEST, 50_000, id=5)
        )
        connection.push_message(1, bytes(200_000))
        connection.push_message(1, bytes(2))
    del connection
    assert (alive(RecordedCall), alive(Outgoing), alive(RecordingConnection)) == before


@pytest.mark.parametrize("size", [0, 1, 300, 20_000, 100_000])
def test_payload_belongs_to_its_receiver_alone(size: int) -> None:
    connection = server()
    data = (
        b"".join(cut(Request(1, METHOD, bytes(size)), 40_000)) if size > 40_000 else request(1, bytes(size))
    )
    ((_, *_, payload),) = connection.receive_data(data)
    # Whether the call itself counts depends on the version of Python.
    mine = object()
    alone = sys.getrefcount(mine)
    # Recycled blocks stay known to their pool; the empty and one-byte objects are shared by the interpreter.
    expected = alone + 1 if size >= 32_768 else alone
    assert sys.getrefcount(payload) == expected or size < 2


def test_memory_grows_with_received_bytes_not_with_announced_ones() -> None:
    connections = [server() for _ in range(200)]
    tracemalloc.start()
    try:
        for connection in connections:
            # 16 MiB are announced three times, a few bytes come.
            connection.receive_data(request(1, b"x", total=16 * MIB))
            connection.receive_data(request(3, flags=FLAG_STREAM_IN))
            connection.receive_data(Data(3, b"x", total=16 * MIB, more=True).encode())
            connection.receive_data(header(Kind.REQUEST, 262_144, id=5))
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown / len(connections) < 200_000


def test_large_message_is_received_once() -> None:
    connection = server()
    data = header(Kind.REQUEST, 16 + 9 + 200_000, id=1) + request(1)[16:] + bytes(200_000)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 8_192):
            connection.receive_data(data[start : start + 8_192])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 200_000 + 65_536


def test_limits_that_change_amid_a_long_payload_do_no_harm() -> None:
    """A payload that was skipped for its size is not there, even when the limit has risen since."""
    small, large = {Setting.MAX_MESSAGE: 20_000}, {Setting.MAX_MESSAGE: 2**20}
    for data in (
        request(1, bytes(60_000)),
        request(1, bytes(60_000), total=70_000),
        request(3, flags=FLAG_STREAM_IN) + Data(3, bytes(60_000)).encode(),
        request(3, flags=FLAG_STREAM_IN) + Data(3, bytes(60_000), total=61_000, more=True).encode(),
    ):
        connection = RecordingConnection(is_client=False, settings=engine_settings(True, small))
        connection.receive_data(opening(False) + data[:-10_000])
        connection.announce(engine_settings(True, large))
        events = connection.receive_data(data[-10_000:])
        assert [event[0] for event in events] in (["refused"], ["failed"])


def test_own_actions_amid_a_long_piece_do_no_harm() -> None:
    connection = client()
    call = connection.open_call(METHOD, flags=FLAG_STREAM_OUT)
    first = Data(1, bytes(20_000), total=60_000, more=True).encode()
    last = piece(1, bytes(40_000))
    connection.receive_data(first + last[:20_000])
    connection.cancel(call)
    assert connection.receive_data(last[20_000:]) == [("discarded", "DATA", 1)]
    connection.receive_data(answer(1))
    assert connection.calls == []


def test_answer_to_a_call_opened_amid_it_fails_that_call_at_most() -> None:
    connection = client()
    data = answer(1, bytes(60_000))
    connection.receive_data(data[:30_000])
    connection.open_call(METHOD)
    assert [event[0] for event in connection.receive_data(data[30_000:])] == ["failed"]


def test_credit_for_a_large_message_counts_pieces_that_are_on_their_way() -> None:
    """An extra grant made after half a piece has arrived must still cover all of it."""
    connection = server()
    connection.receive_data(request(1, flags=FLAG_STREAM_IN) + Data(1, bytes(100)).encode())
    first, rest = (
        Data(1, bytes(20_000), total=100_000, more=True).encode(),
        piece(1, bytes(40_000), more=True),
    )
    connection.receive_data(first + rest[:30_000])
    connection.take_message(1)
    left = 65_536 - (16 + 100) - (16 + 8 + 20_000)
    assert connection.data_to_send() == Credit(1, 80_000 - left).encode()
    assert connection.receive_data(rest[30_000:]) == []
    events = connection.receive_data(piece(1, bytes(40_000)) + End(1).encode())
    assert [event[0] for event in events] == ["data", "end"]

"""The engine writes the golden bytes of PROTOCOL.md and reads them back."""

import dataclasses
from collections.abc import Callable

import pytest

from fastrpc._core.wire.native import NativeProtocol
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import engine_settings
from tests.support.frame_factory import opening, request
from tests.support.golden import GOLDEN, read_golden
from tests.support.wire_layout import (
    FLAG_IDEMPOTENT,
    FLAG_ONE_WAY,
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    FLAG_WAITED,
    Kind,
)
from tests.support.wire_reference import Data, Frame, Preface, Request, Response, Setting, encode_metadata

FRAMES = [name for name, (_, frame) in GOLDEN.items() if not isinstance(frame, Preface)]
BOTH_WAYS = FLAG_STREAM_IN | FLAG_STREAM_OUT


def protocol_for(frame: Frame) -> NativeProtocol:
    """Return the protocol of the side that receives a frame of the examples; all their calls are odd."""
    protocol = NativeProtocol()
    protocol.peer_parity = 0 if isinstance(frame, Response) or type(frame).__name__ == "Head" else 1
    return protocol


def test_frames_are_written_as_they_were_read() -> None:
    for name in FRAMES:
        protocol = protocol_for(GOLDEN[name][1])  # type: ignore[arg-type]
        raw = read_golden(name)
        assert protocol.encode(protocol.decode(raw)) == raw, name


def test_fields_are_as_in_the_reference() -> None:
    for name in FRAMES:
        check_fields(name)


def check_fields(name: str) -> None:
    frame = GOLDEN[name][1]
    assert not isinstance(frame, Preface)
    found = protocol_for(frame).decode(read_golden(name))
    assert Kind(found["kind"]).name == type(frame).__name__.upper() or not isinstance(
        frame, Request | Response
    )
    if isinstance(frame, Request | Response | Data):
        expected = dataclasses.asdict(frame)
        expected["text"] = expected.pop("message", None)
        flags, total = expected.pop("flags", 0), expected.pop("total")
        assert {key: found[key] for key in expected if key in found} == {
            key: value for key, value in expected.items() if key in found
        }
        assert found["flags"] & 0xF0 == flags | (FLAG_WAITED if expected.get("waited") else 0)
        assert found.get("total") == total


def client(first_id: int = 1) -> RecordingConnection:
    """Return a client whose connection is open, with its sent bytes removed."""
    connection = RecordingConnection(is_client=True, first_id=first_id)
    connection.receive_data(opening(True))
    connection.data_to_send()
    return connection


def server(*calls: bytes) -> RecordingConnection:
    """Return a server whose connection stands, which received these calls."""
    connection = RecordingConnection(is_client=False)
    connection.receive_data(opening(False) + b"".join(calls))
    connection.data_to_send()
    return connection


def traced(connection: RecordingConnection) -> None:
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    metadata = encode_metadata([(b"traceparent", trace), (b"shard-bin", b"\x00\xff")])
    connection.open_call(
        b"shop.v1.stock.level", b"\x91\xa3tea", flags=FLAG_IDEMPOTENT, codec=1, attempt=1, metadata=metadata
    )


def drained(connection: RecordingConnection) -> None:
    connection.begin_drain()
    connection.data_to_send()
    connection.end_drain()


STREAM = request(5, flags=FLAG_STREAM_OUT, codec=1)

#: Golden file -> the connection and its steps to write exactly these bytes.
WRITERS: dict[str, tuple[Callable[[], RecordingConnection], Callable[[RecordingConnection], object]]] = {
    "request": (
        client,
        lambda one: one.open_call(b"arith.mul", b"\x92\x06\x07", codec=1, timeout_us=1_000_000),
    ),
    "request_stream": (
        lambda: client(5),
        lambda one: one.open_call(b"chat.join", b"\x90", flags=BOTH_WAYS, codec=1),
    ),
    "response": (
        lambda: server(request(1, codec=1)),
        lambda one: one.respond(1, b"\x2a", elapsed_us=250),
    ),
    "response_refused": (
        lambda: server(request(3)),
        lambda one: one.respond_error(3, 8, b"too many calls: 10,000", outcome=1, pushback_ms=1_500),
    ),
    "head": (
        lambda: server(STREAM),
        lambda one: one.push_head(5, encode_metadata([(b"room", b"garden")])),
    ),
    "data": (lambda: server(STREAM), lambda one: one.push_message(5, b"\xa2hi")),
    "data_empty": (lambda: server(request(5, flags=FLAG_STREAM_OUT)), lambda one: one.push_message(5)),
    "ping": (client, lambda one: one.ping(b"12345678")),
    "ping_ack": (client, lambda one: one.receive_data(read_golden("ping"))),
    "goaway_final": (lambda: server(request(9)), drained),
    "goaway_error": (
        lambda: server(request(9)),
        lambda one: one.close(3, "a frame of 300000 bytes, the limit is 262144"),
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_engine_writes_the_golden_bytes(name: str) -> None:
    make, act = WRITERS[name]
    connection = make()
    act(connection)
    assert connection.data_to_send() == read_golden(name)


def test_calls_are_cancelled_and_ended_in_golden_bytes() -> None:
    connection = client(5)
    call = connection.open_call(b"chat.join", flags=BOTH_WAYS)
    connection.data_to_send()
    connection.push_end(call)
    assert connection.data_to_send() == read_golden("end")
    connection.cancel(call, 1)
    assert connection.data_to_send() == read_golden("cancel")


def test_one_way_call_and_late_metadata_differ_only_in_the_stated_timeout() -> None:
    """The engine always states a timeout, "none" for no timeout; the examples leave it out."""
    connection = client(3)
    traced(connection)
    assert connection.data_to_send() == with_timeout(read_golden("request_traced"))
    connection = client(7)
    connection.open_call(b"log.write", b"hello", flags=FLAG_ONE_WAY)
    assert connection.data_to_send() == with_timeout(read_golden("request_one_way"))


def with_timeout(raw: bytes) -> bytes:
    """Return a REQUEST with "none" instead of "not stated"."""
    return raw[:24] + b"\xff" * 8 + raw[32:]


def test_drain_begins_with_the_golden_bytes() -> None:
    connection = client()
    connection.begin_drain()
    sent = connection.data_to_send()
    assert sent.startswith(read_golden("goaway_drain"))


def test_client_opens_with_preface_settings_and_credit() -> None:
    connection = RecordingConnection(is_client=True)
    sent = connection.data_to_send()
    assert sent.startswith(read_golden("preface_client"))
    assert sent.endswith(read_golden("credit_connection"))
    connection.receive_data(opening(True))
    assert connection.data_to_send() == read_golden("settings_ack")


def test_server_answers_the_golden_preface_of_a_later_version() -> None:
    connection = RecordingConnection(is_client=False)
    connection.receive_data(Preface(2, 3).encode())
    assert connection.data_to_send() == read_golden("preface_none_in_common")


def test_stream_credit_is_returned_in_golden_bytes() -> None:
    connection = RecordingConnection(
        is_client=False, settings=engine_settings(True, {Setting.STREAM_WINDOW: 65_536})
    )
    message = Data(5, bytes(32_768 - 16)).encode()
    connection.receive_data(opening(False) + request(5, flags=FLAG_STREAM_IN) + message)
    connection.data_to_send()
    connection.take_message(5)
    assert connection.data_to_send() == read_golden("credit_stream")

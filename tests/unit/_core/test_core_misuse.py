"""Used in a wrong way the core raises; it never crashes, and never writes bytes that a peer could not read."""

from collections.abc import Callable

import pytest

from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.native import NativeProtocol
from fastrpc._core.wire.settings import WireSettings, decode_settings, usual_settings
from fastrpc.errors import LocalProtocolError, RemoteProtocolError
from fastrpc_harness.echo_connection import EchoConnection
from fastrpc_harness.recording import RecordedCall, RecordingConnection
from tests.support.engine import client, frames, server
from tests.support.frame_factory import answer, opening, request
from tests.support.wire_layout import FLAG_STREAM_IN, FLAG_STREAM_OUT

METHOD = b"arith.mul"


@pytest.mark.parametrize("kind", [Connection, RecordingConnection, EchoConnection])
def test_connection_without_init_can_be_looked_at_and_dropped(kind: type[Connection]) -> None:
    bare = kind.__new__(kind)
    names = [name for name in dir(bare) if not name.startswith("_")]
    assert [getattr(bare, name) for name in names]


def test_recording_without_init_refuses_or_works() -> None:
    bare = RecordingConnection.__new__(RecordingConnection)
    assert bare.receive_data(opening(False) + request(1))[-1] == ("error", 2)
    assert bare.data_to_send().startswith(b"\xf5FRP")


NONSENSE: dict[str, Callable[[RecordingConnection], object]] = {
    "method of no bytes": lambda one: one.open_call(b""),
    "method of 256 bytes": lambda one: one.open_call(b"x" * 256),
    "metadata above its field": lambda one: one.open_call(METHOD, metadata=bytes(65_536)),
    "answer to an unknown call": lambda one: one.respond(99),
    "answer to an own call": lambda one: one.respond(one.open_call(METHOD)),
    "answer to a call of nobody": lambda one: one.respond(RecordedCall()),
    "error for an unknown call": lambda one: one.respond_error(98, 13),
    "message for an unknown call": lambda one: one.push_message(98),
    "message for a call without a stream": lambda one: one.push_message(one.open_call(METHOD)),
    "head for an own call": lambda one: one.push_head(one.open_call(METHOD, flags=FLAG_STREAM_OUT)),
    "END of a call without a stream": lambda one: one.push_end(one.open_call(METHOD)),
    "message that did not come": lambda one: one.take_message(99),
    "PING of 7 bytes": lambda one: one.ping(bytes(7)),
}


@pytest.mark.parametrize("action", NONSENSE.values(), ids=NONSENSE)
def test_nonsense_is_refused(action: Callable[[RecordingConnection], object]) -> None:
    connection = client()
    with pytest.raises(LocalProtocolError):
        action(connection)
    assert {type(frame).__name__ for frame in frames(connection.data_to_send())} <= {"Request"}


WRONG_TYPES: dict[str, Callable[[RecordingConnection], object]] = {
    "method": lambda one: one.open_call(None),  # type: ignore[arg-type]
    "text as a method": lambda one: one.open_call("arith.mul"),  # type: ignore[arg-type]
    "payload": lambda one: one.open_call(METHOD, None),  # type: ignore[arg-type]
    "metadata": lambda one: one.open_call(METHOD, metadata=None),  # type: ignore[arg-type]
    "flags": lambda one: one.open_call(METHOD, flags=256),
    "data": lambda one: one.receive_data(None),  # type: ignore[arg-type]
    "settings": lambda one: one.announce(None),  # type: ignore[arg-type]
    "other settings": lambda one: one.announce({}),  # type: ignore[arg-type]
    "call": lambda one: one.cancel(None),  # type: ignore[arg-type]
    "negative id": lambda one: one.cancel(-1),
    "id above 64 bits": lambda one: one.take_message(2**64),
    "status": lambda one: one.respond_error(1, 65_536),
    "reason": lambda one: one.close(None),  # type: ignore[arg-type]
    "text": lambda one: one.close(0, None),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("action", WRONG_TYPES.values(), ids=WRONG_TYPES)
def test_wrong_types_are_refused(action: Callable[[RecordingConnection], object]) -> None:
    connection = server()
    connection.receive_data(request(1))
    with pytest.raises((TypeError, OverflowError, ValueError)):
        action(connection)
    connection.respond(1)
    assert len(frames(connection.data_to_send(), by_server=True)) == 1


@pytest.mark.parametrize("options", [{}, {"settings": None}, {"settings": 5}, {"early_calls": "some"}])
def test_connection_needs_its_options(options: dict[str, object]) -> None:
    with pytest.raises((TypeError, KeyError)):
        Connection(**options)  # type: ignore[arg-type]


def test_second_answer_is_refused() -> None:
    connection = server()
    connection.receive_data(request(1, flags=FLAG_STREAM_OUT))
    connection.push_message(1, bytes(100_000))
    connection.respond(1)
    with pytest.raises(LocalProtocolError):
        connection.respond(1)
    with pytest.raises(LocalProtocolError):
        connection.push_message(1)


def test_message_after_the_end_is_refused() -> None:
    connection = client()
    call = connection.open_call(METHOD, flags=FLAG_STREAM_IN)
    connection.push_end(call)
    with pytest.raises(LocalProtocolError):
        connection.push_message(call)


def test_everything_can_be_done_to_a_closed_connection() -> None:
    connection = client()
    call = connection.open_call(METHOD, flags=FLAG_STREAM_IN)
    connection.push_message(call, bytes(200_000))
    connection.close(0, "enough")
    connection.close(0, "enough")
    connection.data_to_send()
    assert connection.receive_data(answer(1)) == [("error", 0)]
    assert connection.receive_data(answer(1)) == []
    connection.begin_drain()
    connection.end_drain()
    connection.push_message(call, bytes(10))
    connection.cancel(call)
    connection.open_call(METHOD)


@pytest.mark.parametrize("data", [b"", bytes(15), b"\xff" * 64, b"\x03\0\0\0\x7f" + bytes(11)])
def test_protocol_reads_only_one_whole_frame(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        NativeProtocol().decode(data)


@pytest.mark.parametrize(
    "fields", [{}, {"kind": 256}, {"kind": 0x82, "id": -1}, {"kind": 0x82, "method": "text"}]
)
def test_protocol_writes_no_nonsense(fields: dict[str, object]) -> None:
    with pytest.raises((KeyError, OverflowError, TypeError)):
        NativeProtocol().encode(fields)


def test_settings_keep_to_their_types() -> None:
    settings = WireSettings(True)
    for name in ("max_frame", "max_message", "open_messages"):
        with pytest.raises((TypeError, OverflowError)):
            setattr(settings, name, -1)
    with pytest.raises(TypeError):
        settings.agent = b"bytes"  # type: ignore[assignment]
    with pytest.raises(TypeError):
        decode_settings(None)  # type: ignore[arg-type]


def test_text_is_cut_between_characters() -> None:
    settings = usual_settings(True)
    settings.agent = "é" * 40
    assert dict(decode_settings(settings.encode()))[14] == "é" * 32
    connection = server()
    connection.close(2, "é" * 1_000)
    (goaway,) = frames(connection.data_to_send(), by_server=True)
    assert goaway.text.decode() == "é" * 512  # type: ignore[union-attr]

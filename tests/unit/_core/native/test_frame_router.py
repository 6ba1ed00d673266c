"""The opening of a connection, and the part that takes each frame."""

import pytest

from fastrpc._core.wire.native import PREFACE
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import client, frames, server
from tests.support.frame_factory import cut, opening, piece, request
from tests.support.wire_frames import Credit, Data, Request, SettingsFrame
from tests.support.wire_layout import FLAG_STREAM_IN, Reason


def credit_of(data: bytes) -> int:
    """Return the credit of the connection in the bytes of a server."""
    return sum(
        frame.size for frame in frames(data, by_server=True) if isinstance(frame, Credit) and frame.id == 0
    )


def test_a_server_opens_once_the_preface_is_complete() -> None:
    connection = RecordingConnection(is_client=False)
    first = opening(False)
    connection.receive_data(first[: len(PREFACE) - 1])
    assert connection.data_to_send() == b""
    connection.receive_data(first[len(PREFACE) - 1 :])
    said = connection.data_to_send()
    assert said.startswith(PREFACE)
    assert isinstance(frames(said[len(PREFACE) :], by_server=True)[0], SettingsFrame)


def test_the_raise_of_the_window_follows_the_settings() -> None:
    connection = RecordingConnection(is_client=False)
    connection.receive_data(opening(False))
    settings, raised, *_ = frames(connection.data_to_send()[len(PREFACE) :], by_server=True)
    assert isinstance(settings, SettingsFrame)
    assert isinstance(raised, Credit)
    _, window, _ = connection.credit
    assert window > raised.size > 0


@pytest.mark.parametrize(("make", "id"), [(server, 1), (client, 2)], ids=["server", "client"])
def test_data_for_a_call_that_was_never_opened_breaks_the_rules(make: object, id: int) -> None:
    connection: RecordingConnection = make()  # type: ignore[operator]
    connection.receive_data(Data(id, b"x").encode())
    assert connection.closed_reason == Reason.PROTOCOL
    assert connection.closed_text == f"DATA for call {id}, which was never opened"


def test_data_for_a_call_of_ours_that_is_over_breaks_the_rules() -> None:
    connection = client()
    connection.receive_data(Data(1, b"x").encode())
    assert connection.closed_text == "DATA for call 1, which is over or was never opened"


def test_data_for_a_call_of_the_peer_that_is_over_is_discarded() -> None:
    connection = server()
    connection.receive_data(request(1, flags=FLAG_STREAM_IN))
    connection.respond(1)
    connection.data_to_send()
    assert connection.receive_data(Data(1, b"late").encode())[-1][0] == "discarded"
    assert not connection.is_closed


def test_a_discarded_frame_returns_its_credit_as_a_used_one_does() -> None:
    used, discarded = server(), server()
    for connection in (used, discarded):
        connection.receive_data(request(1, flags=FLAG_STREAM_IN))
        if connection is discarded:
            connection.respond(1)
        connection.data_to_send()
        connection.receive_data(Data(1, bytes(60_000)).encode())
    assert used.credit[1:] == discarded.credit[1:]


def test_used_credit_of_the_connection_is_returned() -> None:
    connection = server()
    _, window, _ = connection.credit
    returned = 0
    for number in range(250):
        connection.receive_data(request(2 * number + 1, bytes(100_000)))
        connection.respond(2 * number + 1)
        returned += credit_of(connection.data_to_send())
    assert returned > window
    assert not connection.is_closed


def test_pieces_are_received_into_the_message_that_they_continue() -> None:
    connection = server()
    first, *rest = cut(Request(1, b"arith.mul", bytes(100_000)), 40_000)
    connection.receive_data(first)
    connection.receive_data(rest[0][:10_000])
    begun = connection.reader.sink
    assert begun is not None
    events = connection.receive_data(rest[0][10_000:] + b"".join(rest[1:]))
    assert [event[0] for event in events] == ["request"]
    assert events[0][-1] == bytes(100_000)


def test_a_payload_without_a_call_is_skipped() -> None:
    connection = server()
    connection.receive_data(request(1))
    connection.respond(1)
    connection.data_to_send()
    late = piece(1, bytes(50_000))
    connection.receive_data(late[:20_000])
    assert connection.reader.sink is None
    assert connection.receive_data(late[20_000:])[-1][0] == "discarded"

"""The native engine as a whole: its opening, its announcements, its end."""

import pytest

from fastrpc._core.wire.native import MAGIC, PREFACE
from fastrpc.errors import LocalProtocolError
from fastrpc_harness.recording import RecordingConnection
from tests.support.engine import client, engine_settings, frames, server
from tests.support.frame_factory import opening, request
from tests.support.wire_frames import Goaway, Response, SettingsFrame
from tests.support.wire_layout import Reason
from tests.support.wire_settings import Setting


def test_a_client_speaks_first() -> None:
    connection = RecordingConnection(is_client=True, settings=engine_settings(False))
    said = connection.data_to_send()
    assert said.startswith(PREFACE)
    assert PREFACE.startswith(MAGIC)
    assert not connection.is_open
    connection.receive_data(opening(True))
    assert connection.is_open


def test_a_server_says_nothing_before_the_preface() -> None:
    connection = RecordingConnection(is_client=False, settings=engine_settings(True))
    assert connection.data_to_send() == b""
    connection.receive_data(opening(False))
    assert connection.is_open


@pytest.mark.parametrize("size", [1, 7, 1_000])
def test_any_cut_of_the_bytes_gives_the_same_events(size: int) -> None:
    data = opening(False) + request(1, bytes(300)) + request(3, b"six")
    whole = RecordingConnection(is_client=False, settings=engine_settings(True)).receive_data(data)
    cut = RecordingConnection(is_client=False, settings=engine_settings(True))
    found = [event for at in range(0, len(data), size) for event in cut.receive_data(data[at : at + size])]
    assert found == whole


def test_a_call_of_the_peer_is_gone_with_its_answer() -> None:
    connection = server()
    connection.receive_data(request(1, b"six"))
    connection.respond(1, b"42")
    assert frames(connection.data_to_send(), by_server=True)[-1] == Response(1, 0, b"42")
    assert connection.calls == []


def test_the_stream_window_is_announced_once() -> None:
    connection = client()
    other = engine_settings(False, {Setting.STREAM_WINDOW: 123_456})
    with pytest.raises(LocalProtocolError, match="for as long as the connection lasts"):
        connection.announce(other)
    same = engine_settings(False, {Setting.MAX_METADATA: 1_024})
    connection.announce(same)
    assert isinstance(frames(connection.data_to_send())[-1], SettingsFrame)


def test_the_first_reason_to_end_counts() -> None:
    connection = client()
    connection.close(Reason.KEEPALIVE, "no answer")
    connection.close(Reason.INTERNAL, "another")
    assert (connection.closed_reason, connection.closed_text, connection.closed_by_peer) == (
        Reason.KEEPALIVE,
        "no answer",
        False,
    )
    last = [frame for frame in frames(connection.data_to_send()) if isinstance(frame, Goaway)]
    assert [frame.reason for frame in last] == [Reason.KEEPALIVE]
    assert not connection.is_open


def test_nothing_is_parsed_after_its_end() -> None:
    connection = server()
    connection.close(Reason.INTERNAL, "enough")
    connection.receive_data(request(1))
    assert connection.calls == []

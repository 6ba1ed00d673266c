"""When a connection has drained: nothing of ours waits any more, messages without bytes included."""

from tests.support.engine import frames, server
from tests.support.wire_frames import Credit, Request, Response
from tests.support.wire_layout import FLAG_STREAM_OUT
from tests.support.wire_settings import Setting

WINDOW = 16_384


def test_an_answer_after_an_empty_message_without_credit_is_waited_for() -> None:
    connection = server({Setting.STREAM_WINDOW: WINDOW})
    connection.receive_data(Request(1, b"arith.count", b"", flags=FLAG_STREAM_OUT).encode())
    connection.push_message(1, bytes(WINDOW - 16))
    connection.data_to_send()
    # Without a byte of the window left not even its header may go.
    connection.push_message(1)
    connection.respond(1)
    connection.begin_drain()
    connection.end_drain()
    connection.data_to_send()
    assert connection.sender.queued_bytes == 0
    assert not connection.has_drained
    connection.receive_data(Credit(1, WINDOW).encode())
    assert frames(connection.data_to_send(), by_server=True)[-1] == Response(1, 0, b"")
    assert connection.has_drained

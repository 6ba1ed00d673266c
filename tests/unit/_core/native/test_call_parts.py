"""A connection without the parts that know calls."""

from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording import RecordingConnection


def test_a_connection_that_serves_nothing_has_no_connection_and_nothing_to_end() -> None:
    connection = RecordingConnection(is_client=True, settings=usual_settings(False))
    assert connection.connection is None
    connection.end_calls("nothing is under way")
    assert not connection.is_closed

"""The owner of the parts of a connection: the budgets of late frames, and the parts that know calls."""

from fastrpc._core.native.connection import Connection
from fastrpc._core.wire.settings import usual_settings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.frame_factory import request
from tests.support.wire_frames import Cancel
from tests.support.wire_layout import Reason

LATE_FRAMES = 1_000


def callee() -> RecordingOwner:
    """Return the callee's states alone, with a call that was answered."""
    owner = RecordingOwner("reader", "sender", "assembler", "callee", is_client=False)
    owner.receive_data(request(1))
    owner.respond(owner.found(1), b"")
    owner.take()
    owner.events.clear()
    return owner


def violations(owner: RecordingOwner) -> list[object]:
    return [event[1] for event in owner.events if event[0] == "close_with"]


def test_late_frames_are_dropped_until_they_are_a_flood() -> None:
    owner = callee()
    # A call that is over adds the four that an honest peer may still send for it.
    for _ in range(LATE_FRAMES):
        owner.receive_data(Cancel(1, 0).encode())
    assert violations(owner) == []
    for _ in range(5):
        owner.receive_data(Cancel(1, 0).encode())
    assert violations(owner) == [Reason.CALM_DOWN]


def test_late_frames_count_as_time_goes_on() -> None:
    owner = callee()
    for second in range(1, 4):
        owner.now = second * 1_000_000_000
        for _ in range(300):
            owner.receive_data(Cancel(1, 0).encode())
    assert violations(owner) == []


def test_a_side_that_serves_nothing_has_no_calls_to_end() -> None:
    connection = Connection(is_client=True, settings=usual_settings(False))
    assert connection.connection is None
    connection.end_calls("it ends")


def test_a_peer_takes_calls_by_its_settings() -> None:
    assert RecordingOwner(peer=usual_settings(False)).peer_takes is None
    assert RecordingOwner(peer=usual_settings(True)).peer_takes == "calls"

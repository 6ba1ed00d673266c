"""The bytes that may leave: their order, and what is copied."""

from fastrpc.errors import EncodeError
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.wire_frames import Credit, Response


def server() -> RecordingOwner:
    owner = RecordingOwner("sender", is_client=False)
    owner.raise_credit(None, 2**30)
    return owner


def test_output_is_taken_once() -> None:
    owner = server()
    owner.respond(owner.call(1), b"six")
    assert len(owner.take()) > 0
    assert owner.take() == b""


def test_long_payloads_and_short_ones_keep_their_order() -> None:
    owner = server()
    sizes = (3, 65_000, 5, 40_000)
    for id, size in enumerate(sizes):
        try:
            owner.respond(owner.call(2 * id + 1), bytes(size))
        except EncodeError:
            raise AssertionError("the floor takes 65,536 bytes") from None
    found = frames(owner.take(), by_server=True)
    assert sorted(len(frame.payload) for frame in found if isinstance(frame, Response)) == sorted(sizes)


def test_control_frames_overtake_what_waits() -> None:
    owner = server()
    owner.respond(owner.call(1), bytes(20_000))
    owner.send_credit(0, 7)
    assert [type(frame) for frame in frames(owner.take(), by_server=True)] == [Credit, Response]

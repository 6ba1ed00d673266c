"""The bytes that may leave: their order, and copies."""

from fastrpc.errors import EncodeError
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.wire_frames import Credit, Response

# The header and the fields of a RESPONSE.
ANSWER_HEAD = 32


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


def test_every_byte_that_waits_counts_until_it_is_taken() -> None:
    owner = server()
    for id, size in enumerate((3, 16_384, 1_000, 5, 16_384, 7)):
        before = owner.output_bytes
        owner.respond(owner.call(2 * id + 1), bytes(size))
        assert owner.output_bytes == before + ANSWER_HEAD + size
    owner.send_credit(0, 7)
    assert owner.output_bytes == len(owner.take())
    assert owner.output_bytes == 0


def test_no_output_is_left_of_a_lost_connection() -> None:
    owner = server()
    for id, size in ((1, 3), (3, 65_000), (5, 5)):
        owner.respond(owner.call(id), bytes(size))
    owner.send_credit(0, 7)
    owner.forget_all()
    assert owner.output_bytes == 0
    assert owner.take() == b""


def test_control_frames_overtake_waiting_messages() -> None:
    owner = server()
    owner.respond(owner.call(1), bytes(20_000))
    owner.send_credit(0, 7)
    assert [type(frame) for frame in frames(owner.take(), by_server=True)] == [Credit, Response]


def test_a_control_frame_alone_is_an_output_without_an_empty_part() -> None:
    """`writelines` of asyncio waited for room for that for ever, in a loop that was never idle (gh-155888)."""
    owner = server()
    owner.send_credit(0, 7)
    assert [type(frame) for frame in frames(owner.take(), by_server=True)] == [Credit]

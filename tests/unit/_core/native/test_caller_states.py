"""The caller's states alone, with their parts: answers, cancelled calls, unusable frames."""

from fastrpc._core.calls.call import Call
from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.frame_factory import answer, cut
from tests.support.wire_frames import Cancel, Head, Response


def caller() -> tuple[RecordingOwner, Call]:
    """Return the caller's states of a client and a call that was sent."""
    peer, ours = WireSettings(True), WireSettings(False)
    peer.max_calls = ours.open_messages = 1
    peer.max_message = ours.max_message = ours.max_frame = 65_536
    owner = RecordingOwner("reader", "sender", "assembler", "slots", "caller", peer=peer, ours=ours)
    call = owner.call(is_local=True)
    owner.request(call, b"six")
    owner.take()
    return owner, call


def test_answer_ends_the_call_and_frees_its_slot() -> None:
    owner, _ = caller()
    owner.receive_data(answer(1, b"42"))
    assert owner.events == [("on_forgotten", 1), ("on_response", 1, 0, b"42")]
    owner.request(owner.call(is_local=True), b"")
    assert owner.take() != b""


def test_cut_answer_is_reported_once_it_is_complete() -> None:
    owner, _ = caller()
    first, *rest = cut(Response(1, 0, bytes(1000)), 400)
    owner.receive_data(first)
    assert owner.caller is not None
    assert owner.caller.open_responses == 1
    for block in rest:
        owner.receive_data(block)
    assert owner.caller.open_responses == 0
    assert owner.events[-1] == ("on_response", 1, 0, bytes(1000))


def test_answer_to_a_call_that_is_over_is_a_violation() -> None:
    owner, _ = caller()
    owner.receive_data(answer(1) + answer(1))
    assert "RESPONSE to call 1, which is over or was never opened" in str(owner.events[-1][2])


def test_call_abandoned_keeps_its_slot_until_its_answer_came() -> None:
    owner, call = caller()
    owner.cancel(call)
    assert frames(owner.take()) == [Cancel(1, 0)]
    owner.request(owner.call(is_local=True), b"")
    assert owner.take() == b""
    owner.receive_data(answer(1, b"unwanted"))
    assert owner.events == [("on_forgotten", 1)]
    assert owner.take() != b""


def test_answer_above_our_limit_ends_its_call_alone() -> None:
    owner, _ = caller()
    owner.receive_data(cut(Response(1, 0, bytes(70_000)), 60_000)[0])
    assert owner.events == [("on_local_end", 1, 8)]
    assert not owner.is_closed


def test_head_of_a_call_that_streams_nothing_is_a_violation() -> None:
    owner, _ = caller()
    owner.receive_data(Head(1).encode())
    assert "HEAD for call 1, which expects none now" in str(owner.events[-1][2])

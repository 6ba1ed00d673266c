"""The callee's states alone, with their parts: requests, limits, causes of the end of a call."""

from typing import Any

from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.frame_factory import cut, request
from tests.support.wire_frames import Cancel, Request, Response
from tests.support.wire_layout import FLAG_ONE_WAY, Kind


def callee(**limits: int) -> RecordingOwner:
    """Return the callee's states of a server that announced two calls at a time, with changes."""
    ours = WireSettings(True)
    for name, value in {"max_calls": 2, "max_frame": 65_536, "max_message": 65_536, **limits}.items():
        setattr(ours, name, value)
    return RecordingOwner("reader", "sender", "assembler", "callee", is_client=False, ours=ours)


def answers(owner: RecordingOwner) -> list[Any]:
    return [frame for frame in frames(owner.take(), by_server=True) if isinstance(frame, Response)]


def test_whole_request_is_reported_and_its_answer_ends_the_call() -> None:
    owner = callee()
    owner.receive_data(request(1, b"six"))
    assert owner.events == [("on_request", 1, b"six")]
    owner.respond(owner.found(1), b"42")
    assert owner.events[1:] == [("answered", 1), ("on_ended", 1)]
    assert answers(owner) == [Response(1, 0, b"42")]


def test_cut_request_is_reported_once_it_is_complete() -> None:
    owner = callee()
    for block in cut(Request(1, b"arith.mul", bytes(1000)), 400):
        owner.receive_data(block)
    assert owner.callee is not None
    assert owner.events[-1] == ("on_request", 1, bytes(1000))
    assert owner.callee.open_requests == 0


def test_call_above_the_limit_is_refused_and_not_told_as_a_request() -> None:
    owner = callee()
    for id in (1, 3, 5):
        owner.receive_data(request(id))
    assert [event[0] for event in owner.events] == [
        "on_request",
        "on_request",
        "on_refused",
        "on_ended",
        "answered",
        "on_ended",
    ]
    (refusal,) = answers(owner)
    assert (refusal.id, refusal.outcome) == (5, 1)
    assert b"Limits.concurrent_calls" in refusal.message


def test_one_way_calls_above_the_limit_are_dropped_and_counted() -> None:
    owner = callee()
    for id in (1, 3, 5):
        owner.receive_data(request(id, flags=FLAG_ONE_WAY))
    assert owner.callee is not None
    assert (owner.callee.one_way_calls, owner.callee.dropped_one_way) == (2, 1)
    assert answers(owner) == []


def test_id_that_does_not_rise_is_a_violation() -> None:
    owner = callee()
    owner.receive_data(request(3) + request(1))
    assert owner.events[-1][0] == "close_with"
    assert "REQUEST with id 1, ids up to 3 are used" in str(owner.events[-1][2])


def test_cancel_is_reported_and_the_call_still_gets_its_answer() -> None:
    owner = callee()
    owner.receive_data(request(1) + Cancel(1, 0).encode())
    assert owner.events[-1] == ("on_cancel", 1, 0)
    owner.respond(owner.found(1), b"too late")
    (end,) = answers(owner)
    assert (end.status, end.payload) == (1, b"")


def test_cancel_of_a_call_that_is_over_is_discarded() -> None:
    owner = callee()
    owner.receive_data(request(1))
    owner.respond(owner.found(1), b"42")
    owner.receive_data(Cancel(1, 0).encode())
    assert owner.events[-1] == ("discard", int(Kind.CANCEL), 1)


def test_many_calls_opened_to_be_cancelled_are_a_flood() -> None:
    owner = callee()
    id = 1
    while not owner.is_closed:
        assert id < 10_000
        owner.receive_data(request(id) + Cancel(id, 0).encode())
        if not owner.is_closed:
            owner.fail(owner.found(id), 1, "")
            owner.take()
        id += 2
    assert "opened to be cancelled or refused" in str(owner.events[-1][2])


def test_request_above_the_message_limit_is_refused_with_size_limit_side_and_setting() -> None:
    for is_client, side in ((False, "server"), (True, "client")):
        ours = WireSettings(True)
        ours.max_message = 4_096
        owner = RecordingOwner("reader", "sender", "assembler", "callee", is_client=is_client, ours=ours)
        owner.receive_data(request(2 if is_client else 1, bytes(5_000)))
        (refusal,) = [
            frame for frame in frames(owner.take(), by_server=not is_client) if isinstance(frame, Response)
        ]
        assert refusal.outcome == 1
        assert refusal.message == (
            f"the request has 5000 bytes, the {side} takes at most 4096 (Limits.message_bytes)".encode()
        )

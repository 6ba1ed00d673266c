"""The sender alone: order, credit, pieces, and its reports to its owner."""

import sys

import pytest

from fastrpc._core.wire.settings import WireSettings
from fastrpc.errors import EncodeError
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import call_ids, frames
from tests.support.wire_frames import Credit, Data, End, Response


def sender_of_server(**limits: int) -> RecordingOwner:
    """Return the sender of a server, whose client accepts the usual with changes."""
    peer = WireSettings(False)
    for name, value in {"max_frame": 65_536, "max_message": 1_000_000, **limits}.items():
        setattr(peer, name, value)
    return RecordingOwner("sender", is_client=False, peer=peer)


def test_small_answer_is_written_at_once_and_its_call_told_as_answered() -> None:
    owner = sender_of_server()
    owner.respond(owner.call(1), b"six")
    assert owner.events == [("answered", 1)]
    assert frames(owner.take(), by_server=True) == [Response(1, 0, b"six")]
    assert owner.take() == b""


def test_answer_without_credit_waits_until_credit_comes() -> None:
    owner = sender_of_server()
    sizes = [16_000] * 5
    for id, size in enumerate(sizes):
        owner.respond(owner.call(2 * id + 1), bytes(size))
    assert owner.events[-1] == ("answer_waits", 9)
    sent = frames(owner.take(), by_server=True)
    assert call_ids(sent) == [1, 3, 5, 7]
    assert owner.sender is not None
    assert owner.sender.queued_bytes == 16_000
    assert owner.raise_credit(None, 20_000)
    assert call_ids(frames(owner.take(), by_server=True)) == [9]
    assert owner.sender.queued_bytes == 0
    assert owner.events[-1] == ("answered", 9)


def test_large_answers_take_turns_a_piece_at_a_time() -> None:
    owner = sender_of_server(max_frame=16_384, open_messages=2)
    owner.respond(owner.call(1), bytes(30_000))
    owner.respond(owner.call(3), bytes(30_000))
    sent = frames(owner.take(), by_server=True)
    assert [(type(frame), frame.id) for frame in sent if isinstance(frame, Response | Data)] == [
        (Response, 1),
        (Response, 3),
        (Data, 1),
        (Data, 3),
    ]


def test_credit_overtakes_an_answer_that_was_written_before() -> None:
    owner = sender_of_server()
    owner.respond(owner.call(1), b"six")
    owner.send_credit(0, 100)
    assert [type(frame) for frame in frames(owner.take(), by_server=True)] == [Credit, Response]


def test_message_of_a_stream_waits_for_its_window() -> None:
    owner = sender_of_server()
    call = owner.call(1, window=10)
    owner.send_message(call, b"too long for ten")
    assert owner.take() == b""
    assert owner.raise_credit(call, 100)
    assert frames(owner.take(), by_server=True) == [Data(1, b"too long for ten", waited=True)]


def test_credit_above_the_highest_window_is_refused() -> None:
    owner = sender_of_server()
    assert not owner.raise_credit(None, 2**31 - 1)


def test_failure_drops_the_messages_in_front_of_it() -> None:
    owner = sender_of_server()
    call = owner.call(1, window=10)
    owner.send_message(call, b"too long for ten")
    owner.fail(call, 13, "failed")
    assert owner.sender is not None
    assert owner.sender.queued_bytes == 0
    assert frames(owner.take(), by_server=True) == [Response(1, 13, b"", message=b"failed")]


def test_answer_above_the_limit_of_the_peer_is_refused() -> None:
    owner = sender_of_server(max_message=100)
    with pytest.raises(EncodeError, match="101 bytes, the peer takes at most 100"):
        owner.respond(owner.call(1), bytes(101))


def test_each_look_at_the_output_counts_as_a_flush() -> None:
    owner = sender_of_server()
    assert owner.sender is not None
    owner.respond(owner.call(1), b"six")
    owner.take()
    owner.take()
    assert owner.sender.flushes == 2


def test_sender_outlives_its_owner_without_a_use() -> None:
    owner = sender_of_server()
    sender = owner.sender
    assert sender is not None
    del owner
    assert (sender.flushes, sender.queued_bytes) == (0, 0)


def test_messages_of_a_lost_connection_are_kept_by_nobody() -> None:
    """Messages that wait for credit, for a turn, for a place among cut messages, and outside of every queue."""
    owner = sender_of_server(max_frame=16_384, open_messages=1)
    payloads = [bytes(30_000), bytes(30_001), bytes(5_000), bytes(6_000), bytes(15_000), bytes(14_000)]
    counts = [sys.getrefcount(payload) for payload in payloads]
    calls = [owner.call(id, window=4_000 if id == 5 else 0) for id in range(1, 10, 2)]
    for call, payload in zip(calls[:2], payloads, strict=False):
        owner.respond(call, payload)
    for payload in payloads[2:4]:
        owner.send_message(calls[2], payload)
    owner.take()
    for call, payload in zip(calls[3:], payloads[4:], strict=True):
        owner.respond(call, payload)
    # The names of the loops.
    del call, payload
    held, told = [owner.holds_messages], list(owner.events)
    owner.forget_all()
    assert [*held, owner.holds_messages] == [True, False]
    assert owner.events == told
    assert owner.sender is not None
    assert owner.sender.queued_bytes == 0
    assert [sys.getrefcount(payload) for payload in payloads] == counts


def test_an_answer_that_becomes_small_leaves_its_place_to_the_next() -> None:
    owner = sender_of_server(max_frame=16_384, open_messages=1)
    first, second, third = (owner.call(id) for id in (1, 3, 5))
    # It leaves no credit for any other frame, and the metadata of the second no room for a piece.
    owner.respond(first, bytes(65_350))
    owner.respond(second, bytes(30_000), metadata=bytes(13_000))
    owner.respond(third, bytes(30_000))
    assert set(call_ids(frames(owner.take(), by_server=True))) == {1}
    assert owner.events[-1] == ("answered", 1)
    owner.raise_credit(None, 100_000)
    assert set(call_ids(frames(owner.take(), by_server=True))) == {3, 5}
    assert owner.events[-1] == ("answered", 5)


def test_the_end_of_a_stream_does_not_wait_for_its_turn() -> None:
    owner = sender_of_server(open_messages=4)
    owner.raise_credit(None, 2**24)
    streams = [owner.call(id, window=2**24) for id in (1, 3)]
    for call in streams:
        owner.send_message(call, bytes(200_000))
    owner.take(65_536)
    waiting = owner.call(5, window=2**24)
    while owner.may_send(waiting):
        owner.send_message(waiting, bytes(10_000))
    owner.take(0)
    owner.end_messages(waiting)
    ended = [frame for frame in frames(owner.take(0), by_server=False) if isinstance(frame, End)]
    assert call_ids(ended) == [5]

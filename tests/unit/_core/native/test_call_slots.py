"""The call slots alone, with the sender they write to: slots at the peer, ids, withdrawn calls."""

import pytest

from fastrpc._core.wire.settings import WireSettings
from fastrpc.errors import EncodeError
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import call_ids, frames
from tests.support.wire_frames import Cancel, Request
from tests.support.wire_layout import FLAG_IDEMPOTENT, FLAG_ONE_WAY, FLAG_STREAM_IN


def slots_of_client(*, is_settled: bool = True, **limits: int) -> RecordingOwner:
    """Return the call slots of a client, whose server accepts the floor with changes."""
    peer = WireSettings(True)
    for name, value in {"max_calls": 2, "max_frame": 65_536, "max_message": 100_000, **limits}.items():
        setattr(peer, name, value)
    return RecordingOwner("sender", "slots", peer=peer, is_settled=is_settled)


def test_calls_get_rising_ids_as_they_are_written() -> None:
    owner = slots_of_client()
    for payload in (b"a", b"b"):
        owner.request(owner.call(), payload)
    assert frames(owner.take()) == [
        Request(1, b"arith.mul", b"a", timeout_us=2**64 - 1),
        Request(3, b"arith.mul", b"b", timeout_us=2**64 - 1),
    ]


def test_call_beyond_the_slots_waits_until_one_is_free() -> None:
    owner = slots_of_client()
    calls = [owner.call() for _ in range(3)]
    for call in calls:
        owner.request(call, b"")
    assert call_ids(frames(owner.take())) == [1, 3]
    assert owner.unsent() == calls[2:]
    owner.end(calls[0])
    assert call_ids(frames(owner.take())) == [5]
    assert owner.unsent() == []


def test_one_way_calls_take_no_slot() -> None:
    owner = slots_of_client()
    for _ in range(5):
        owner.request(owner.call(flags=FLAG_ONE_WAY), b"")
    assert call_ids(frames(owner.take())) == [1, 3, 5, 7, 9]


def test_streams_need_a_slot_of_their_own_kind() -> None:
    owner = slots_of_client(max_streams=1)
    streams = [owner.call(flags=FLAG_STREAM_IN) for _ in range(2)]
    for call in streams:
        owner.request(call, b"")
    owner.request(owner.call(), b"")
    assert call_ids(frames(owner.take())) == [1, 3]
    assert owner.unsent() == streams[1:]


def test_only_idempotent_calls_go_out_before_the_settings_of_the_peer() -> None:
    owner = slots_of_client(is_settled=False)
    owner.request(owner.call(), b"other")
    owner.request(owner.call(flags=FLAG_IDEMPOTENT), b"idempotent")
    assert [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)] == [b"idempotent"]
    owner.allow(max_calls=5)
    assert [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)] == [b"other"]


def test_waiting_call_above_the_announced_limit_is_reported_as_unsendable() -> None:
    owner = slots_of_client(is_settled=False, max_message=10)
    owner.request(owner.call(), bytes(20))
    assert owner.events == []
    owner.allow(max_message=15)
    assert [event[0] for event in owner.events] == ["on_unsendable"]
    assert "20 bytes, the peer takes at most 15" in str(owner.events[0][1])
    assert owner.take() == b""


def test_call_above_a_known_limit_is_refused_at_once() -> None:
    owner = slots_of_client(max_message=10)
    with pytest.raises(EncodeError, match="20 bytes, the peer takes at most 10"):
        owner.request(owner.call(), bytes(20))


def test_call_abandoned_while_it_waits_is_never_sent() -> None:
    owner = slots_of_client(max_calls=0)
    call = owner.call()
    owner.request(call, b"")
    owner.cancel(call)
    owner.allow(max_calls=5)
    assert owner.take() == b""


def test_call_abandoned_after_it_was_written_is_cancelled_and_keeps_its_slot() -> None:
    owner = slots_of_client(max_calls=1)
    call = owner.call()
    owner.request(call, b"")
    owner.take()
    owner.cancel(call, 1)
    assert frames(owner.take()) == [Cancel(1, 1)]
    owner.request(owner.call(), b"")
    assert owner.take() == b""
    owner.end(call)
    assert call_ids(frames(owner.take())) == [3]


def test_dropped_calls_do_not_pile_up_among_those_that_wait() -> None:
    owner = slots_of_client(max_calls=0)
    assert owner.sender is not None
    for _ in range(1000):
        call = owner.call()
        owner.request(call, bytes(100))
        owner.cancel(call)
    assert owner.sender.queued_bytes == 0
    assert owner.unsent() == []


def test_owner_is_told_when_the_ids_are_used_up() -> None:
    owner = slots_of_client()
    assert owner.slots is not None
    owner.slots.next_id = 2**63 - 1
    owner.request(owner.call(), b"")
    assert owner.events == [("on_ids_used_up",)]

"""In which order calls without an id get their slots: by priority, then by arrival, whether they stream or not."""

import pytest

from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.engine import frames
from tests.support.frame_factory import answer
from tests.support.wire_frames import Request
from tests.support.wire_layout import FLAG_IDEMPOTENT, FLAG_ONE_WAY, FLAG_STREAM_IN, FLAG_STREAM_OUT

STREAM = FLAG_STREAM_IN | FLAG_STREAM_OUT


def client(*, is_settled: bool = True, **limits: int) -> RecordingOwner:
    """Return the call slots of a client, whose server takes one call at a time with changes."""
    peer = WireSettings(True)
    for name, value in {"max_calls": 1, "max_frame": 65_536, "max_message": 100_000, **limits}.items():
        setattr(peer, name, value)
    return RecordingOwner("sender", "slots", peer=peer, is_settled=is_settled)


def order_of(owner: RecordingOwner, waiting: list[tuple[bytes, int, int]]) -> list[bytes]:
    """Let calls (payload, flags, priority) wait for one that has the slot; return the order in which they are sent."""
    calls = [owner.call(flags=FLAG_STREAM_IN)]
    owner.request(calls[0], b"first")
    for payload, flags, priority in waiting:
        calls.append(owner.call(flags=flags, priority=priority))
        owner.request(calls[-1], payload)
    by_payload = dict(zip([b"first", *(payload for payload, _, _ in waiting)], calls, strict=True))
    order: list[bytes] = []
    while found := [frame for frame in frames(owner.take()) if isinstance(frame, Request)]:
        assert len(found) == 1
        order.append(found[0].payload)
        owner.end(by_payload[found[0].payload])
    assert order.pop(0) == b"first"
    return order


@pytest.mark.parametrize("flags", [0, STREAM])
def test_slots_go_by_priority_and_then_by_arrival(flags: int) -> None:
    waiting = [
        (b"a", flags, 1),
        (b"b", flags, 0),
        (b"c", flags, 2),
        (b"d", flags, 1),
        (b"e", flags, 0),
        (b"f", flags, 2),
    ]
    assert order_of(client(), waiting) == [b"c", b"f", b"b", b"e", b"a", b"d"]


def test_streams_and_other_calls_wait_in_one_order() -> None:
    waiting = [
        (b"a", STREAM, 0),
        (b"b", 0, 0),
        (b"c", STREAM, 2),
        (b"d", 0, 2),
        (b"e", STREAM, 1),
        (b"f", 0, 0),
    ]
    assert order_of(client(), waiting) == [b"c", b"d", b"a", b"b", b"f", b"e"]


def test_a_stream_that_waits_for_a_place_among_streams_delays_no_other_call() -> None:
    owner = client(max_calls=3, max_streams=1)
    owner.request(owner.call(flags=STREAM), b"first")
    owner.request(owner.call(flags=STREAM, priority=2), b"stream")
    owner.request(owner.call(), b"unary")
    sent = [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)]
    assert sent == [b"first", b"unary"]


def test_the_priority_is_on_the_wire() -> None:
    owner = client(max_calls=10)
    for priority in (0, 1, 2):
        owner.request(owner.call(priority=priority), b"")
    assert [frame.priority for frame in frames(owner.take()) if isinstance(frame, Request)] == [0, 1, 2]


def test_calls_that_may_not_be_early_go_by_priority_once_the_settings_come() -> None:
    owner = client(is_settled=False, max_calls=10)
    waiting = [(b"a", 1), (b"b", 0), (b"c", 2), (b"d", 0)]
    calls = []
    for payload, priority in waiting:
        calls.append(owner.call(priority=priority))
        owner.request(calls[-1], payload)
    early = owner.call(flags=FLAG_IDEMPOTENT, priority=1)
    owner.request(early, b"early")
    owner.end(early)
    assert [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)] == [b"early"]
    owner.allow()
    sent = [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)]
    assert sent == [b"c", b"b", b"d", b"a"]


def test_a_call_that_was_abandoned_while_it_waited_is_never_sent() -> None:
    owner = client()
    first, second, third = owner.call(), owner.call(priority=2), owner.call(priority=1)
    for call in (first, second, third):
        owner.request(call, b"")
    owner.cancel(second)
    owner.end(first)
    assert [frame.priority for frame in frames(owner.take()) if isinstance(frame, Request)] == [0, 1]


def test_requests_that_wait_for_credit_go_by_priority() -> None:
    owner = client(max_calls=10)
    for _ in range(4):
        owner.request(owner.call(), bytes(16_000))
    owner.take()
    for payload, priority in ((b"a", 1), (b"b", 0), (b"c", 2), (b"d", 1), (b"e", 2)):
        owner.request(owner.call(priority=priority), payload * 8_000)
    assert not [frame for frame in frames(owner.take()) if isinstance(frame, Request)]
    assert owner.raise_credit(None, 100_000)
    sent = [frame for frame in frames(owner.take()) if isinstance(frame, Request)]
    assert [frame.payload[:1] for frame in sent] == [b"c", b"e", b"b", b"a", b"d"]
    assert [frame.id for frame in sent] == sorted(frame.id for frame in sent)


@pytest.mark.parametrize("is_settled", [False, True])
def test_early_calls_go_by_priority_and_then_by_arrival_whether_they_stream_or_not(is_settled: bool) -> None:
    owner = client(is_settled=is_settled)
    waiting = [
        (b"a", STREAM, 1),
        (b"b", 0, 0),
        (b"c", STREAM, 0),
        (b"d", 0, 0),
        (b"e", 0, 1),
        (b"f", STREAM, 2),
    ]
    calls = {b"first": owner.call(flags=FLAG_IDEMPOTENT)}
    owner.request(calls[b"first"], b"first")
    late = owner.call(priority=2)
    if not is_settled:
        owner.request(late, b"late")
    for payload, flags, priority in waiting:
        calls[payload] = owner.call(flags=flags | FLAG_IDEMPOTENT, priority=priority)
        owner.request(calls[payload], payload)
    order = []
    while found := [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)]:
        assert len(found) == 1
        order += found
        owner.end(calls[found[0]])
    assert order == [b"first", b"f", b"b", b"c", b"d", b"a", b"e"]


def test_a_new_call_overtakes_no_call_that_waits_for_time_to_pass() -> None:
    """Refusals have used the server's budget up, which time fills again: nobody says when."""
    owner = RecordingOwner(
        "reader", "sender", "slots", "assembler", "caller", peer=client(max_calls=100).peer
    )
    owner.now = 1
    for _ in range(10_000):
        call = owner.call(is_local=True)
        owner.request(call, b"")
        if not owner.take():
            break
        owner.receive_data(answer(call.id, status=12, outcome=1))
    waiting = owner.call(is_local=True)
    owner.request(waiting, b"waiting")
    assert not owner.take()
    owner.now += 1_000_000
    one_way = owner.call(is_local=True, flags=FLAG_ONE_WAY, priority=1)
    owner.request(one_way, b"one-way")
    new = owner.call(is_local=True, priority=1)
    owner.request(new, b"new")
    assert [frame.payload for frame in frames(owner.take()) if isinstance(frame, Request)] == [
        b"one-way",
        b"",
        b"waiting",
        b"new",
    ]

"""Rules of PROTOCOL.md that need more than one frame, a clock or a count: floors, windows, budgets."""

from typing import Any

import pytest

from tests.support.frame_factory import cut, early_opening, opening, request
from tests.support.wire_reference import (
    FLAG_STREAM_IN,
    FLAG_STREAM_OUT,
    Cancel,
    Credit,
    Data,
    End,
    Event,
    Ping,
    Reason,
    ReferencePeer,
    Request,
    Response,
    Setting,
    SettingsFrame,
    encode_metadata,
    metadata_problem,
)

KIB = 1024


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def server(changes: dict[int, Any] | None = None, clock: Clock | None = None) -> ReferencePeer:
    """Return a server that a client opened."""
    peer = ReferencePeer(True, changes, clock=clock or Clock())
    peer.receive(opening(False))
    peer.take_output()
    return peer


def names(events: list[Event]) -> list[str]:
    return [event[0] for event in events]


def test_frame_limit_below_the_floor_binds_with_the_acknowledgement() -> None:
    peer = ReferencePeer(True, {Setting.MAX_FRAME: 16_384})
    peer.receive(early_opening(False))
    assert names(peer.receive(request(1, bytes(20_000)))) == ["request"]
    peer.receive(SettingsFrame(ack=True).encode())
    assert peer.receive(request(3, bytes(20_000))) == [("error", Reason.FRAME_SIZE)]


def test_higher_frame_limit_holds_as_soon_as_it_was_sent() -> None:
    peer = server()
    peer.announce({Setting.MAX_FRAME: 1024 * KIB})
    assert names(peer.receive(request(1, bytes(500 * KIB)))) == ["request"]


def test_lower_frame_limit_spares_frames_in_flight() -> None:
    peer = server()
    peer.announce({Setting.MAX_FRAME: 16_384})
    assert names(peer.receive(request(1, bytes(20_000)))) == ["request"]
    assert names(peer.receive(SettingsFrame(ack=True).encode())) == ["settings_ack"]
    assert peer.receive(request(3, bytes(20_000))) == [("error", Reason.FRAME_SIZE)]


def test_message_limit_below_the_floor_refuses_single_calls_at_once() -> None:
    peer = ReferencePeer(True, {Setting.MAX_MESSAGE: 4_096})
    peer.receive(early_opening(False))
    assert peer.receive(request(1, bytes(4_097))) == [("refused", 1, 8)]


@pytest.mark.parametrize(("is_acknowledged", "window"), [(False, 65_536), (True, 200_000)])
def test_stream_window_grows_only_after_the_acknowledgement(is_acknowledged: bool, window: int) -> None:
    peer = ReferencePeer(True, {Setting.STREAM_WINDOW: 200_000, Setting.MAX_FRAME: 400_000})
    peer.receive(opening(False) if is_acknowledged else early_opening(False))
    peer.receive(request(1, flags=FLAG_STREAM_IN))
    first = Data(1, bytes(40_000)).encode()
    rest = window - 40_016 - 16
    assert names(peer.receive(first)) == ["data"]
    if not is_acknowledged:
        peer.receive(SettingsFrame(ack=True).encode())
    assert names(peer.receive(Data(1, bytes(rest)).encode())) == ["data"]
    assert peer.receive(Data(1).encode()) == [("error", Reason.CREDIT)]


def test_empty_messages_use_the_stream_window() -> None:
    peer = server()
    peer.receive(request(1, flags=FLAG_STREAM_IN))
    assert names(peer.receive(Data(1).encode() * 4_096)) == ["data"] * 4_096
    assert peer.receive(Data(1).encode()) == [("error", Reason.CREDIT)]


def test_stream_credit_is_returned_by_halves_of_the_window() -> None:
    peer = server()
    peer.receive(request(1, flags=FLAG_STREAM_IN) + Data(1, bytes(16_368)).encode() * 3)
    peer.callee.take_message(1)
    assert peer.take_output() == b""
    peer.callee.take_message(1)
    assert peer.take_output() == Credit(1, 32_768).encode()


def test_large_message_gets_the_missing_credit_once_no_message_waits() -> None:
    peer = server()
    peer.receive(request(1, flags=FLAG_STREAM_IN) + Data(1, bytes(984)).encode())
    first, *_, last = cut(Data(1, bytes(100_000)), 50_000)
    peer.receive(first)
    assert peer.take_output() == b""
    peer.callee.take_message(1)
    left = 65_536 - 1_000 - (16 + 8 + 50_000)
    assert peer.take_output() == Credit(1, 50_000 - left).encode()
    assert peer.receive(last) == [("data", 1, 0, 0, bytes(100_000))]


def test_stream_pool_is_given_first_come_first_served() -> None:
    peer = ReferencePeer(True, {Setting.MAX_MESSAGE: 100_000}, stream_pool=150_000)
    peer.receive(opening(False))
    peer.take_output()
    for call in (1, 3):
        first = Data(call, bytes(10), total=100_000, more=True).encode()
        peer.receive(request(call, flags=FLAG_STREAM_IN) + first)
    granted = Credit(1, 99_990 - (65_536 - 34)).encode()
    assert peer.take_output() == granted
    peer.receive(Cancel(1).encode())
    assert peer.take_output() == Credit(3, 99_990 - (65_536 - 34)).encode()


def test_connection_credit_is_returned_by_halves_without_a_reader() -> None:
    peer = server()
    frame = request(1, bytes(200_000))
    for number in range(42):
        peer.receive(request(1 + 2 * number, bytes(200_000)))
    assert peer.take_output() == Credit(0, 42 * len(frame)).encode()


def test_honest_cancels_that_cross_ten_thousand_answers_do_not_strike() -> None:
    peer = server({Setting.MIN_PING_MS: 0})
    calls = range(1, 20_001, 2)
    peer.receive(b"".join(request(call) for call in calls))
    for call in calls:
        peer.callee.respond(Response(call, 4))
    events = peer.receive(b"".join(Cancel(call, 1).encode() for call in calls))
    assert names(events) == ["discarded"] * 10_000


def test_late_frames_budget_refills_with_time() -> None:
    clock = Clock()
    peer = server(clock=clock)
    peer.receive(request(1, metadata=b"\0"))
    late = End(1).encode()
    assert names(peer.receive(late * 1_004)) == ["discarded"] * 1_004
    clock.now += 1
    events = peer.receive(late * 331)
    assert names(events) == ["discarded"] * 330 + ["error"]
    assert peer.error is Reason.CALM_DOWN


def test_a_stream_cut_short_may_still_bring_one_window() -> None:
    peer = server()
    large = bytes(65_520)
    for call in (1, 3, 5):
        peer.receive(request(call, flags=FLAG_STREAM_IN))
        peer.callee.respond(Response(call, 5))
        events = peer.receive(Data(call, large).encode() * 256)
        assert names(events) == ["discarded"] * 256
    assert peer.receive(Data(5, large).encode())[-1] == ("error", Reason.CALM_DOWN)


@pytest.mark.parametrize(
    ("gaps", "seen"),
    [
        ([0, 0, 0, 0], ["ping"] * 3 + ["error"]),
        ([0, 0.249, 0.249, 0.249], ["ping"] * 3 + ["error"]),
        ([0, 0, 0, 0.25, 0, 0, 0.25, 0.2, 0.2], ["ping"] * 9),
    ],
)
def test_third_ping_too_soon_in_a_row_strikes(gaps: list[float], seen: list[str]) -> None:
    clock = Clock()
    peer = server(clock=clock)
    found = []
    for gap in gaps:
        clock.now += gap
        found += names(peer.receive(Ping().encode()))
    assert found == seen


def test_ping_answers_are_bounded_while_the_transport_takes_nothing() -> None:
    peer = server({Setting.MIN_PING_MS: 0})
    peer.block_output()
    assert names(peer.receive(Ping().encode() * 1_000)) == ["ping"] * 1_000
    assert peer.receive(Ping().encode()) == [("error", Reason.CALM_DOWN)]


def test_credit_budget_grows_with_sent_frames() -> None:
    peer = server()
    peer.receive(request(1, flags=FLAG_STREAM_OUT))
    peer.callee.send(Data(1, b"x"))
    peer.take_output()
    # One CREDIT came with the opening.
    events = peer.receive(Credit(1, 1).encode() * 110)
    assert names(events) == ["credit"] * 109 + ["error"]


def test_surplus_of_a_head_is_skipped() -> None:
    body = bytes([4, 0, 0, 0, 3, 0, 0, 0]) + bytes(8) + b"future!!" * 2 + b"a.b" + b"payload"
    frame = len(body).to_bytes(4, "little") + b"\x82\0\0\0" + (1).to_bytes(8, "little") + body
    event = server().receive(frame)[0]
    assert (event[2], event[-1]) == (b"a.b", b"payload")


def test_reserved_fields_are_ignored() -> None:
    frame = bytearray(request(1))
    frame[16 + 3] = 0xFF
    cancel = bytearray(Cancel(1).encode())
    cancel[6:8] = b"\x09\x09"
    cancel[-2:] = b"\xff\xff"
    assert names(server().receive(bytes(frame + cancel))) == ["request", "cancel"]


@pytest.mark.parametrize(
    ("entries", "limit", "problem"),
    [
        ([], 0, None),
        ([(b"a", b"")], 33, None),
        ([(b"a", b"")], 32, "over"),
        ([(b"a.b_c-0", b"\xc3\xa4")], 8_192, None),
        ([(b"A", b"x")], 8_192, "malformed"),
        ([(b"a", b"\xff")], 8_192, "malformed"),
        ([(b"a-bin", b"\xff")], 8_192, None),
        ([(b"a", b"x"), (b"a", b"y")], 8_192, "malformed"),
        ([(b"", b"x")], 8_192, "malformed"),
        ([(b"a\n", b"x")], 8_192, "malformed"),
    ],
)
def test_metadata_is_checked(entries: list[tuple[bytes, bytes]], limit: int, problem: str | None) -> None:
    assert metadata_problem(encode_metadata(entries), limit) == problem


@pytest.mark.parametrize("block", [b"\x01", b"\x01\0\0", b"\x01\0\0\0", b"\x01\0\x01\0a", b"\xff\0\xff\xffa"])
def test_metadata_that_overruns_is_malformed(block: bytes) -> None:
    assert metadata_problem(block, 8_192) == "malformed"


def test_metadata_alternating_over_and_under_its_limit_fails_only_the_call_over_it() -> None:
    peer = server()
    large = encode_metadata([(b"a", b"x" * 8_160)])
    small = encode_metadata([(b"a", b"x" * 8_159)])
    frames = [request(1 + 2 * number, metadata=large if number % 2 else small) for number in range(6)]
    assert names(peer.receive(b"".join(frames))) == ["request", "refused"] * 3


def test_answer_with_broken_metadata_fails_only_its_call() -> None:
    client = ReferencePeer(False)
    client.receive(opening(True))
    for _ in range(2):
        client.open_call(b"arith.mul")
    client.take_output()
    broken, cut_one = Response(1, metadata=b"\1").encode(), Response(3, 0, b"x", 9, metadata=b"\1").encode()
    assert client.receive(broken + cut_one) == [("failed", 1, 13), ("failed", 3, 13)]
    assert client.take_output() == Cancel(3, 3).encode()


def test_id_below_a_refused_one_is_refused_by_a_connection_error() -> None:
    peer = server({Setting.MAX_CALLS: 1})
    peer.receive(request(1) + request(5))
    assert peer.receive(Request(3, b"a.b").encode()) == [("error", Reason.PROTOCOL)]

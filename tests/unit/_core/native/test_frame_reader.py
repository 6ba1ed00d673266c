"""The reader alone: bytes to frames, held payloads, the window of the connection."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.wire.settings import WireSettings
from fastrpc_harness.recording_parts import RecordingOwner
from tests.support.frame_factory import answer, header, request
from tests.support.wire_layout import Kind

REQUEST, RESPONSE = int(Kind.REQUEST), int(Kind.RESPONSE)


def reader_of_server(**limits: int) -> RecordingOwner:
    """Return the reader of a server that announced the usual with changes."""
    ours = WireSettings(True)
    for name, value in {"max_frame": 1_000_000, "max_message": 1_000_000, **limits}.items():
        setattr(ours, name, value)
    return RecordingOwner("reader", is_client=False, ours=ours)


def read_all(owner: RecordingOwner, blocks: list[bytes]) -> None:
    """Give blocks to the reader as a transport does: unconsumed bytes come again, in front of the next block."""
    rest = b""
    for block in blocks:
        while taken := owner.receive_body(block):
            block = block[taken:]
        rest += block
        rest = rest[owner.receive_data(rest) :]
    assert rest == b""


def test_complete_frames_are_reported_in_order_and_an_incomplete_one_is_kept() -> None:
    owner = reader_of_server()
    data = request(1, b"six") + request(3, b"seven")
    assert owner.receive_data(data + data[:20]) == len(data)
    assert owner.events == [("on_frame", REQUEST, 1, b"six"), ("on_frame", REQUEST, 3, b"seven")]


@given(st.lists(st.integers(1, 60_000), max_size=6))
def test_any_cut_of_the_bytes_gives_the_same_frames(cuts: list[int]) -> None:
    owner = reader_of_server()
    data = request(1, b"six") + request(3, bytes(50_000)) + request(5, b"seven")
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    read_all(owner, [data[start:end] for start, end in pairwise(edges)])
    assert [event[2] for event in owner.events] == [1, 3, 5]
    assert owner.events[1] == ("on_frame", REQUEST, 3, bytes(50_000))


def test_long_payload_is_received_into_its_own_memory() -> None:
    owner = reader_of_server()
    data = request(1, bytes(60_000))
    assert owner.receive_data(data[:100]) == 100
    assert owner.reader is not None
    assert owner.reader.sink is not None
    assert owner.reader.body_left == len(data) - 100
    assert owner.receive_body(data[100:]) == len(data) - 100
    assert owner.events == [("on_frame", REQUEST, 1, bytes(60_000))]
    assert owner.reader.sink is None


def test_payload_that_the_owner_does_not_want_is_skipped() -> None:
    owner = reader_of_server(max_message=20_000)
    data = request(1, bytes(60_000)) + request(3, b"six")
    read_all(owner, [data[:100], data[100:]])
    assert [event[2] for event in owner.events] == [1, 3]
    assert owner.events[0][3] == b""


STEP = 16_384


def test_the_received_part_of_a_long_payload_is_reported_in_steps_until_its_frame_was_handled() -> None:
    owner = reader_of_server()
    data = request(1, bytes(60_000))
    head = len(data) - 60_000
    read_all(owner, [data[start : start + 10_000] for start in range(0, len(data), 10_000)])
    assert owner.part_events == [*((1, end - head) for end in (20_000, 40_000, 60_000)), 0, "over"]
    assert [event[0] for event in owner.events] == ["on_frame"]
    assert owner.reader is not None
    assert owner.reader.counted == 0


def test_a_part_shorter_than_a_step_and_a_skipped_part_are_not_reported() -> None:
    owner = reader_of_server(max_message=30_000)
    short, skipped = request(1, bytes(STEP + 1_000)), request(3, bytes(40_000))
    read_all(owner, [short[:STEP], short[STEP:], skipped[:30_000], skipped[30_000:]])
    assert owner.part_events == []
    assert [event[2] for event in owner.events] == [1, 3]


def test_payload_without_memory_is_dropped_and_its_rest_is_skipped() -> None:
    owner = reader_of_server()
    reader = owner.reader
    assert reader is not None
    data = request(1, bytes(60_000))
    read_all(owner, [data[:20_000]])
    assert (reader.counted > 0, reader.dropped) == (True, None)
    owner.why_full = "full"
    read_all(owner, [data[20_000:40_000]])
    assert (reader.sink, reader.counted, reader.dropped) == (None, 0, "full")
    assert owner.part_events[-1] == "over"
    told = len(owner.part_events)
    owner.why_full = None
    read_all(owner, [data[40_000:] + request(3, b"six")])
    assert owner.events == [("on_frame", REQUEST, 1, b""), ("on_frame", REQUEST, 3, b"six")]
    assert (reader.dropped, reader.body_left) == (None, 0)
    assert len(owner.part_events) == told


def test_bytes_before_frames_go_to_the_owner_once_they_are_complete() -> None:
    owner = reader_of_server()
    owner.opening_left = 4
    assert owner.receive_data(b"\xf5FR") == 0
    assert owner.receive_data(b"\xf5FRP" + request(1, b"six")) == 4 + len(request(1, b"six"))
    assert owner.events == [("on_opening", b"\xf5FRP"), ("on_frame", REQUEST, 1, b"six")]


def test_reading_stops_after_many_frames_if_the_owner_says_so() -> None:
    owner = reader_of_server()
    data = b"".join(request(2 * i + 1, b"") for i in range(200))
    owner.rounds_left = 1
    consumed = owner.receive_data(data)
    told = len(owner.events)
    assert consumed == told * len(request(1, b""))
    assert 32 <= told < 200
    owner.rounds_left = 10
    assert owner.receive_data(data[consumed:]) == len(data) - consumed
    assert len(owner.events) == 200


def test_broken_header_ends_the_connection_and_nothing_more_is_parsed() -> None:
    owner = reader_of_server(max_frame=20_000)
    data = header(REQUEST, 20_001, id=1) + request(3, b"")
    assert owner.receive_data(data) == len(data)
    assert [event[0] for event in owner.events] == ["close_with"]
    assert owner.receive_data(request(5, b"")) == len(request(5, b""))
    assert len(owner.events) == 1


def test_data_beyond_the_window_of_the_connection_is_a_violation() -> None:
    owner = reader_of_server()
    owner.receive_data(request(1, bytes(60_000)))
    owner.receive_data(request(3, bytes(10_000)))
    assert [event[0] for event in owner.events] == ["on_frame", "close_with"]
    assert "exceeds the connection window" in str(owner.events[1][2])


def test_client_reads_answers() -> None:
    owner = RecordingOwner("reader")
    owner.receive_data(answer(1, b"42"))
    assert owner.events == [("on_frame", RESPONSE, 1, b"42")]

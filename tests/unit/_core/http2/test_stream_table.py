"""The streams of a connection: the states of RFC 9113, section 5.1, ids, limits, late frames, GOAWAY."""

from random import Random

import pytest
from h2.errors import ErrorCodes

from fastrpc._core.http2.stream_table import Http2Stream, StreamTable
from fastrpc_harness.http2_blocks import Http2ViolationError
from fastrpc_harness.http2_frames import (
    arrived,
    ended,
    highest_sending,
    leaving,
    opened,
    raise_stream,
    took_data,
    took_head,
    was_reset,
)
from tests.conftest import Scale

DATA, HEADERS, PRIORITY, RST_STREAM = range(4)
WINDOW_UPDATE = 8

REMEMBERED = 128


def server(*ids: int, limit: int = 1_000) -> StreamTable:
    """Return the streams of a server that has read heads with these ids."""
    table = StreamTable(is_client=False, limit=limit)
    for id in ids:
        begun(table, id)
    return table


def begun(table: StreamTable, id: int, **options: bool | int) -> Http2Stream:
    stream = arrived(table, HEADERS, id)
    assert stream is not None
    took_head(table, stream, **options)
    return stream


def outcome(table: StreamTable, kind: int, id: int) -> str:
    """Return "stream", "late", or the error code with C for the connection, S for the stream."""
    try:
        stream = arrived(table, kind, id)
    except Http2ViolationError as error:
        return f"{'C' if error.is_of_connection else 'S'} {ErrorCodes(error.code).name}"
    return "late" if stream is None else "stream"


def in_state(state: str, is_client: bool) -> StreamTable:
    """Return a table in which stream 5 has this state."""
    table = StreamTable(is_client)
    if is_client:
        streams = [opened(table) for _ in range(2 if state == "idle" else 3)]
        stream = streams[-1]
        assert stream is not None
        if state != "idle":
            assert stream.id == 5
            took_head(table, stream)
    else:
        begun(table, 1)
        if state == "idle":
            return table
        stream = begun(table, 5)
    if state in ("ended by peer", "ended by both"):
        took_data(table, stream, 0, ends_stream=True)
    if state in ("ended by us", "ended by both"):
        ended(table, stream)
    if state.startswith("reset"):
        was_reset(table, stream, is_by_us=state == "reset by us")
    return table


#: The outcome of DATA, HEADERS, PRIORITY, RST_STREAM and WINDOW_UPDATE.
STATES = {
    "open": ("stream", "stream", "stream", "stream", "stream"),
    "ended by us": ("stream", "stream", "stream", "stream", "stream"),
    "ended by peer": ("S STREAM_CLOSED", "S STREAM_CLOSED", "stream", "stream", "stream"),
    "ended by both": ("C STREAM_CLOSED", "C STREAM_CLOSED", "late", "late", "late"),
    "reset by peer": ("S STREAM_CLOSED", "S STREAM_CLOSED", "late", "late", "late"),
    "reset by us": ("late", "late", "late", "late", "late"),
}


@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("state", STATES)
def test_a_frame_has_the_outcome_of_its_state(state: str, is_client: bool) -> None:
    for kind, expected in zip(
        (DATA, HEADERS, PRIORITY, RST_STREAM, WINDOW_UPDATE), STATES[state], strict=True
    ):
        assert outcome(in_state(state, is_client), kind, 5) == expected, kind


@pytest.mark.parametrize("kind", [DATA, RST_STREAM, WINDOW_UPDATE])
@pytest.mark.parametrize("is_client", [True, False])
@pytest.mark.parametrize("id", [2, 4, 5, 7, 2**31 - 1])
def test_frames_of_idle_streams_end_the_connection(kind: int, is_client: bool, id: int) -> None:
    assert outcome(in_state("idle", is_client), kind, id) == "C PROTOCOL_ERROR"


@pytest.mark.parametrize("id", [1, 2, 5, 2**31 - 1])
def test_priority_means_nothing(id: int) -> None:
    table = StreamTable(is_client=False)
    assert outcome(table, PRIORITY, id) == "late"
    assert (table.count, table.highest) == (0, 0)


@pytest.mark.parametrize(("is_client", "id"), [(False, 2), (False, 4), (True, 2), (True, 5), (True, 6)])
def test_streams_are_opened_by_clients_alone(is_client: bool, id: int) -> None:
    assert outcome(in_state("idle", is_client), HEADERS, id) == "C PROTOCOL_ERROR"


def test_ids_rise() -> None:
    table = server(1, 9)
    assert table.highest == 9
    assert outcome(table, HEADERS, 3) == "C PROTOCOL_ERROR"
    assert outcome(table, HEADERS, 11) == "stream"
    # A stream that was skipped is over for other frames.
    assert outcome(table, WINDOW_UPDATE, 5) == "late"


def test_a_forgotten_stream_counts_as_skipped() -> None:
    table = server()
    for id in range(1, 2 * REMEMBERED + 4, 2):
        was_reset(table, begun(table, id))
    assert [outcome(table, HEADERS, id) for id in (1, 3, 5)] == ["C PROTOCOL_ERROR"] * 2 + ["late"]
    assert [outcome(table, DATA, id) for id in (1, 3, 5)] == ["late"] * 3


def test_late_answers_to_a_client_are_dropped() -> None:
    table = StreamTable(is_client=True, limit=1_000)
    for _ in range(REMEMBERED + 2):
        stream = opened(table)
        assert stream is not None
        was_reset(table, stream)
    assert {outcome(table, kind, id) for kind in (DATA, HEADERS) for id in range(1, 2 * REMEMBERED, 2)} == {
        "late"
    }


class TestLimits:
    def test_a_stream_above_the_limit_is_refused_alone(self) -> None:
        table = server(1, 3, limit=2)
        assert outcome(table, HEADERS, 5) == "S REFUSED_STREAM"
        assert (table.count, table.highest) == (2, 5)
        # Its further frames are under way.
        assert [outcome(table, kind, 5) for kind in (DATA, HEADERS, RST_STREAM)] == ["late"] * 3
        assert outcome(table, DATA, 3) == "stream"

    def test_half_closed_streams_count(self) -> None:
        table = server(1, limit=1)
        stream = arrived(table, DATA, 1)
        assert stream is not None
        took_data(table, stream, 0, ends_stream=True)
        assert outcome(table, HEADERS, 3) == "S REFUSED_STREAM"
        ended(table, stream)
        assert outcome(table, HEADERS, 5) == "stream"

    def test_ours_wait_for_the_limit_of_the_peer(self) -> None:
        table = StreamTable(is_client=True, limit=2)
        first, second = opened(table), opened(table)
        assert first is not None
        assert second is not None
        assert (first.id, second.id, opened(table)) == (1, 3, None)
        was_reset(table, first)
        third = opened(table)
        assert third is not None
        assert third.id == 5

    def test_a_lowered_limit_ends_no_stream(self) -> None:
        table = server(1, 3, 5)
        table.limit = 1
        assert outcome(table, DATA, 5) == "stream"
        assert outcome(table, HEADERS, 7) == "S REFUSED_STREAM"

    def test_the_highest_id_is_taken_from_a_client(self) -> None:
        table = server(2**31 - 1)
        assert outcome(table, DATA, 2**31 - 1) == "stream"


class TestMessages:
    @pytest.mark.parametrize(
        ("sizes", "fits"), [((3, 2), True), ((5,), True), ((0, 5), True), ((4,), False), ((), False)]
    )
    def test_data_has_the_size_that_was_announced(self, sizes: tuple[int, ...], fits: bool) -> None:
        table = server()
        stream = begun(table, 1, content_length=5)
        for size in sizes:
            took_data(table, stream, size)
        if fits:
            took_data(table, stream, 0, ends_stream=True)
            assert stream.is_ended_by_peer
            return
        with pytest.raises(Http2ViolationError, match="content-length") as caught:
            took_data(table, stream, 0, ends_stream=True)
        assert not caught.value.is_of_connection

    def test_more_data_than_announced_is_refused_at_once(self) -> None:
        table = server()
        stream = begun(table, 1, content_length=5)
        took_data(table, stream, 3)
        with pytest.raises(Http2ViolationError, match="content-length"):
            took_data(table, stream, 3)

    def test_a_head_that_ends_announces_nothing(self) -> None:
        table = server()
        with pytest.raises(Http2ViolationError, match="content-length"):
            begun(table, 1, content_length=5, ends_stream=True)
        assert begun(table, 3, content_length=0, ends_stream=True).is_ended_by_peer

    def test_trailers_end_the_stream(self) -> None:
        table = server()
        stream = begun(table, 1)
        with pytest.raises(Http2ViolationError, match="do not end") as caught:
            took_head(table, stream)
        assert not caught.value.is_of_connection
        took_head(table, stream, ends_stream=True)
        assert stream.is_ended_by_peer

    def test_interim_heads_come_before_the_head(self) -> None:
        table = StreamTable(is_client=True)
        stream = opened(table)
        assert stream is not None
        took_head(table, stream, is_interim=True)
        took_head(table, stream, is_interim=True)
        assert not stream.has_head
        took_head(table, stream)
        assert stream.has_head

    def test_an_interim_head_does_not_end_the_stream(self) -> None:
        table = StreamTable(is_client=True)
        stream = opened(table)
        assert stream is not None
        with pytest.raises(Http2ViolationError, match="do not end"):
            took_head(table, stream, is_interim=True, ends_stream=True)

    def test_data_before_the_head_is_refused(self) -> None:
        table = StreamTable(is_client=True)
        stream = opened(table)
        assert stream is not None
        with pytest.raises(Http2ViolationError, match="before the head"):
            took_data(table, stream, 1)


class TestGoaway:
    def test_streams_above_the_last_one_were_not_handled(self) -> None:
        table = StreamTable(is_client=True)
        streams = [opened(table) for _ in range(4)]
        assert sorted(stream.id for stream in leaving(table, 2**31 - 1)) == []
        assert sorted(stream.id for stream in leaving(table, 3)) == [5, 7]
        assert streams[0] is arrived(table, DATA, 1)
        assert sorted(stream.id for stream in leaving(table, 0)) == [1, 3, 5, 7]

    @pytest.mark.parametrize("last_taken", [0, 5, 2**31 - 3, 2**31 - 1])
    def test_no_stream_is_opened_after_goaway(self, last_taken: int) -> None:
        table = StreamTable(is_client=True)
        leaving(table, last_taken)
        assert opened(table) is None

    def test_the_last_stream_does_not_rise(self) -> None:
        table = StreamTable(is_client=True)
        leaving(table, 5)
        leaving(table, 5)
        with pytest.raises(Http2ViolationError, match="raises its last stream to 7, it was 5"):
            leaving(table, 7)


def test_the_highest_window_is_over_the_open_streams() -> None:
    table = server(1, 3, 5)
    assert highest_sending(table) == 0
    for id, increment in ((1, 7), (3, 1_000_000), (5, 9)):
        stream = arrived(table, WINDOW_UPDATE, id)
        assert stream is not None
        raise_stream(stream, increment)
    assert highest_sending(table) == 1_000_000
    stream = arrived(table, DATA, 3)
    assert stream is not None
    was_reset(table, stream)
    assert highest_sending(table) == 9


def test_a_user_of_a_stream_may_lead_back_to_its_table() -> None:
    table = server(1)
    stream = arrived(table, DATA, 1)
    assert stream is not None
    stream.user = table
    assert arrived(table, DATA, 1) is stream


def test_a_closed_stream_is_closed_once() -> None:
    table = server(1)
    stream = arrived(table, DATA, 1)
    assert stream is not None
    was_reset(table, stream, is_by_us=False)
    was_reset(table, stream)
    ended(table, stream)
    # The first end counts.
    assert outcome(table, DATA, 1) == "S STREAM_CLOSED"
    assert table.count == 0


def test_the_count_matches_the_streams_that_are_left(scale: Scale) -> None:
    for seed in scale.seeds(400):
        random, table, open_ids = (
            Random(seed),
            StreamTable(is_client=False, limit=40),
            dict[int, Http2Stream](),
        )
        next_id = 1
        for _ in range(300):
            if random.random() < 0.5:
                id, next_id = next_id, next_id + 2 * random.randrange(1, 4)
                expected = "stream" if len(open_ids) < 40 else "S REFUSED_STREAM"
                assert outcome(table, HEADERS, id) == expected
                if expected == "stream":
                    stream = arrived(table, WINDOW_UPDATE, id)
                    assert stream is not None
                    took_head(table, stream)
                    open_ids[id] = stream
            elif open_ids:
                id = random.choice(list(open_ids))
                assert arrived(table, DATA, id) is open_ids[id]
                was_reset(table, open_ids.pop(id), is_by_us=random.random() < 0.5)
            assert table.count == len(open_ids)

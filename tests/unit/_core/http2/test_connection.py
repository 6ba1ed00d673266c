"""A connection of HTTP/2: events and orders, both roles with each other and with `h2`, any cut of the bytes."""

from random import Random

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from fastrpc_harness.http2_frames import headers_frames, ping_frame, reset_frame, window_update_frame
from tests.conftest import Scale
from tests.support.http2_frames import (
    DATA,
    END_STREAM,
    GOAWAY,
    OPENING,
    WINDOW_UPDATE,
    raw,
)
from tests.support.http2_talk import (
    GET,
    HEAD,
    HEAD_FIELDS,
    OK,
    REQUEST,
    REQUEST_FIELDS,
    Event,
    client,
    joined,
    pair,
    prefixed,
    server,
    split,
    taken,
    with_h2,
)

HIGHEST_ID = 2**31 - 1


#: Kind, flags and stream of WINDOW_UPDATE of the connection.
CREDIT = bytes([WINDOW_UPDATE, 0, 0, 0, 0, 0])


# Exchanges


def test_a_call_is_a_head_a_message_and_trailers() -> None:
    both = pair()
    id = both.request(b"four")
    assert taken(both.server) == [
        ("head", id, REQUEST_FIELDS, False),
        ("data", id, prefixed(b"four"), True),
    ]
    both.answer(id, b"five5")
    assert taken(both.server) == [("over", id)]
    assert taken(both.client) == [
        ("head", id, HEAD_FIELDS, False),
        ("data", id, prefixed(b"five5"), False),
        ("trailers", id, [(b"grpc-status", b"0")]),
        ("over", id),
    ]
    assert (both.client.open_streams, both.server.open_streams) == (0, 0)


def test_an_equal_call_takes_few_bytes() -> None:
    both = pair()
    for _ in range(2):
        both.answer(both.request())
    id = both.client.open_one()
    both.client.head(id, template=REQUEST)
    both.client.message(id, b"32 bytes of a message, all short", ends=True)
    sent = both.client.take_all()
    # Two heads of frames, six indexes, prefix and payload.
    assert len(sent) == 9 + 6 + 9 + 5 + 32
    both.server.feed(sent)
    both.server.head(id, template=HEAD)
    both.server.message(id, b"")
    both.server.trailers(id, template=OK)
    assert len(both.server.take_all()) == (9 + 2) + (9 + 5) + (9 + 1)


def test_h2_understands_our_client() -> None:
    both = with_h2(client())
    id = both.side.open_one()
    both.side.head(id, [*REQUEST_FIELDS, (b"grpc-timeout", b"1S"), (b"key-bin", b"AAEC")])
    both.side.message(id, b"message", flags=1, ends=True)
    events = both.talk()
    head = next(event for event in events if isinstance(event, RequestReceived))
    assert head.headers is not None
    assert [(bytes(name), bytes(value)) for name, value in head.headers] == [
        *REQUEST_FIELDS,
        (b"grpc-timeout", b"1S"),
        (b"key-bin", b"AAEC"),
    ]
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"\1\0\0\0\x07message"]
    both.h2.send_headers(id, HEAD_FIELDS)
    both.h2.send_data(id, prefixed(b"answer"))
    both.h2.send_headers(id, [(b"grpc-status", b"0")], end_stream=True)
    both.talk()
    assert taken(both.side) == [
        ("head", id, HEAD_FIELDS, False),
        ("data", id, prefixed(b"answer"), False),
        ("trailers", id, [(b"grpc-status", b"0")]),
        ("over", id),
    ]


def test_h2_understands_our_server() -> None:
    both = with_h2(server())
    both.h2.send_headers(1, REQUEST_FIELDS)
    both.h2.send_data(1, prefixed(b"message"), end_stream=True)
    both.talk()
    assert taken(both.side) == [
        ("head", 1, REQUEST_FIELDS, False),
        ("data", 1, prefixed(b"message"), True),
    ]
    both.side.head(1, template=HEAD)
    both.side.message(1, b"answer")
    both.side.trailers(1, [(b"grpc-status", b"5"), (b"grpc-message", b"no")])
    events = both.talk()
    assert [type(event) for event in events] == [
        ResponseReceived,
        DataReceived,
        TrailersReceived,
        StreamEnded,
    ]
    assert taken(both.side) == [("over", 1)]


def test_a_request_and_an_answer_may_consist_of_a_head_alone() -> None:
    both = pair()
    id = both.client.open_one()
    both.client.head(id, template=REQUEST, ends=True)
    both.talk()
    assert taken(both.server) == [("head", id, REQUEST_FIELDS, True)]
    both.server.head(id, [*HEAD_FIELDS, (b"grpc-status", b"12")], ends=True)
    both.talk()
    assert taken(both.client) == [
        ("head", id, [*HEAD_FIELDS, (b"grpc-status", b"12")], True),
        ("over", id),
    ]
    assert taken(both.server) == [("over", id)]


def test_a_server_that_ends_early_takes_no_more_of_a_stream() -> None:
    both = with_h2(server())
    both.h2.send_headers(1, REQUEST_FIELDS)
    both.talk()
    both.side.head(1, [*HEAD_FIELDS, (b"grpc-status", b"8")], ends=True)
    events = both.talk()
    assert [type(event) for event in events] == [ResponseReceived, StreamEnded, StreamReset]
    assert isinstance(events[-1], StreamReset)
    assert events[-1].error_code == ErrorCodes.NO_ERROR
    assert taken(both.side)[1:] == [("over", 1)]


def test_orders_within_a_hook_leave_with_the_same_output() -> None:
    both = pair()

    def answer(event: Event) -> None:
        if event[0] == "data":
            both.server.head(event[1], template=HEAD)
            both.server.message(event[1], b"now")
            both.server.trailers(event[1], template=OK)

    both.server.reaction = answer
    id = both.request()
    assert [event[0] for event in taken(both.server)] == ["head", "data", "over"]
    assert taken(both.client)[-1] == ("over", id)


def test_interim_heads_are_dropped() -> None:
    both = with_h2(client())
    id = both.side.open_one()
    both.side.head(id, template=REQUEST, ends=True)
    both.talk()
    both.h2.send_headers(id, [(b":status", b"103")])
    both.h2.send_headers(id, HEAD_FIELDS, end_stream=True)
    both.talk()
    assert taken(both.side) == [("head", id, HEAD_FIELDS, True), ("over", id)]


def test_a_head_above_the_limit_says_so() -> None:
    both = pair(server_options={"header_list_bytes": 400})
    id = both.client.open_one()
    both.client.head(id, [*REQUEST_FIELDS, (b"x-long", b"a" * 300)], ends=True)
    both.talk()
    (event,) = taken(both.server)
    assert event[2][-1] == "too large"
    # The tables of both are in step.
    id = both.client.open_one()
    both.client.head(id, template=REQUEST, ends=True)
    both.talk()
    assert taken(both.server) == [("head", id, REQUEST_FIELDS, True)]


# Cuts


def conversation() -> tuple[bytes, bytes]:
    """Return all bytes of a client and of a server that had some calls."""
    both = pair()
    sent, answered = list[bytes](), list[bytes]()

    def exchange() -> None:
        while True:
            ours, theirs = both.client.take_all(), both.server.take_all()
            sent.append(ours)
            answered.append(theirs)
            if not ours and not theirs:
                return
            both.server.feed(ours)
            both.client.feed(theirs)

    both.client, both.server = client(), server()
    exchange()
    for size in (0, 32, 20_000, 70_000):
        id = both.client.open_one()
        both.client.head(id, [*REQUEST_FIELDS, (b"x-size", b"%d" % size)])
        both.client.message(id, bytes(size))
        exchange()
        both.server.take_bytes(id, size + 5)
        both.client.message(id, b"last", ends=True)
        exchange()
        both.server.head(id, template=HEAD)
        both.server.message(id, bytes(size))
        both.server.trailers(id, template=OK)
        exchange()
        if both.client.open_streams:
            both.client.take_bytes(id, 40_000)
        exchange()
    id = both.client.open_one()
    both.client.head(id, template=REQUEST)
    both.client.reset_stream(id, 8)
    both.client.drain("bye")
    exchange()
    return b"".join(sent), b"".join(answered)


SENT, ANSWERED = conversation()


def events_of(chunks: list[bytes]) -> list[Event]:
    """Return the events of a server that gets these bytes, and its answers, credit of the connection aside.

    That is returned as bytes are placed, so its pieces depend on the cuts.
    """
    side = server()
    for chunk in chunks:
        side.feed(chunk)
    return [
        *joined(side.events),
        *(("sent", frame) for frame in split(side.take_all()) if frame[3:9] != CREDIT),
    ]


def test_single_bytes_give_the_same_events() -> None:
    assert events_of([SENT[at : at + 1] for at in range(len(SENT))]) == events_of([SENT])


def test_random_cuts_give_the_same_events(scale: Scale) -> None:
    expected = events_of([SENT])
    assert [event[0] for event in expected].count("head") == 5
    for seed in scale.seeds(200):
        random = Random(seed)
        cuts = sorted(random.sample(range(len(SENT)), random.randrange(1, 40)))
        pieces = [SENT[start:end] for start, end in zip([0, *cuts], [*cuts, len(SENT)], strict=True)]
        assert events_of(pieces) == expected, seed


def test_every_cut_of_the_first_frames_gives_the_same_events() -> None:
    head = SENT[:600]
    expected = events_of([head])
    for at in range(len(head)):
        assert events_of([head[:at], head[at:]]) == expected, at


# Resets, refusals


def test_either_side_resets_a_stream() -> None:
    both = pair()
    first, second = both.request(ends=False), both.request(ends=False)
    taken(both.server)
    both.client.reset_stream(first, ErrorCodes.CANCEL)
    both.server.reset_stream(second, ErrorCodes.INTERNAL_ERROR)
    both.talk()
    assert taken(both.server) == [
        ("over", second),
        ("reset", first, ErrorCodes.CANCEL),
        ("over", first),
    ]
    assert taken(both.client) == [
        ("over", first),
        ("reset", second, ErrorCodes.INTERNAL_ERROR),
        ("over", second),
    ]


def test_a_reset_stream_gets_nothing_more() -> None:
    both = pair()
    id = both.request(ends=False)
    taken(both.server)
    both.client.message(id, b"under way")
    both.server.reset_stream(id, ErrorCodes.CANCEL)
    both.talk()
    assert taken(both.server) == [("over", id)]
    assert both.request() > id


def test_messages_of_a_reset_stream_are_dropped() -> None:
    both = pair()
    id = both.request(bytes(200_000))
    assert both.client.queued > 0
    both.client.reset_stream(id, ErrorCodes.CANCEL)
    assert both.client.queued == 0
    both.talk()
    assert taken(both.server)[-2:] == [("reset", id, ErrorCodes.CANCEL), ("over", id)]


def test_streams_above_the_limit_are_refused() -> None:
    side = server(streams=2)
    side.feed(OPENING)
    taken(side)
    side.take_all()
    for id in (1, 3, 5):
        side.feed(headers_frames(id, GET))
    assert [event[:2] for event in taken(side)] == [("head", 1), ("head", 3), ("refused", 5)]
    assert side.take_all() == reset_frame(5, ErrorCodes.REFUSED_STREAM)
    # It may have been under way.
    side.feed(raw(DATA, b"late", END_STREAM, 5))
    assert (taken(side), side.take_all()) == ([], b"")


def test_a_client_opens_as_many_streams_as_the_server_takes() -> None:
    both = pair(server_options={"streams": 2})
    first, second = both.request(), both.request()
    assert both.client.open_one() == 0
    both.answer(first)
    assert both.client.open_one() > second


def test_a_client_opens_a_hundred_streams_before_it_knows_more() -> None:
    side = client()
    assert all(side.open_one() for _ in range(100))
    assert side.open_one() == 0


# Leaving


def test_a_server_drains_in_two_steps() -> None:
    both = pair()
    id = both.request()
    taken(both.client)
    both.server.drain("later")
    assert both.server.drain_step == 1
    first = both.server.take_all()
    both.client.feed(first)
    assert taken(both.client) == [("goaway", HIGHEST_ID, 0, b"later", [])]
    assert both.client.open_one() == 0
    both.talk()
    assert both.server.drain_step == 2
    assert taken(both.client) == [("goaway", id, 0, b"", [])]
    both.answer(id)
    assert taken(both.client)[-1] == ("over", id)
    assert not both.server.is_closed


def test_a_stream_that_crosses_the_first_step_is_taken_and_later_ones_are_not() -> None:
    both = with_h2(server())
    both.side.drain()
    both.h2.send_headers(1, REQUEST_FIELDS, end_stream=True)
    crossed = both.h2.data_to_send()
    goaway = both.side.take_all()
    both.side.feed(crossed)
    assert [event[:2] for event in taken(both.side)] == [("head", 1)]
    both.side.feed(ping_frame(goaway[-8:], is_ack=True))
    assert both.side.take_all()[-8:-4] == (1).to_bytes(4, "big")
    # h2 would refuse to send it now.
    both.side.feed(headers_frames(3, GET, END_STREAM))
    both.side.feed(raw(DATA, b"late", END_STREAM, 3))
    assert taken(both.side) == []
    assert not both.side.is_closed


def test_a_stream_that_comes_with_the_answer_to_the_first_step_is_taken() -> None:
    side = server()
    side.feed(OPENING)
    side.drain()
    taken(side)
    goaway = side.take_all()
    # Clients of h2 answer a ping before they send queued bytes.
    side.feed(ping_frame(goaway[-8:], is_ack=True) + headers_frames(1, GET, END_STREAM))
    assert [event[:2] for event in taken(side)] == [("head", 1)]
    assert side.take_all()[-8:-4] == (1).to_bytes(4, "big")


def test_the_second_step_follows_a_second_later() -> None:
    side = server()
    side.feed(OPENING)
    side.now = 5_000_000_000
    side.drain()
    assert side.check_at(5_900_000_000) == 6_000_000_000
    side.take_all()
    assert side.check_at(6_000_000_000) == 0
    assert side.drain_step == 2
    assert side.take_all()[3] == GOAWAY


def test_streams_that_the_server_did_not_take_are_given_back() -> None:
    both = pair()
    first, second = both.request(), both.client.open_one()
    both.client.head(second, template=REQUEST)
    both.client.message(second, bytes(100_000))
    taken(both.client)
    both.client.take_all()
    both.server.drain()
    both.server.take_all()
    both.server.check_at(2_000_000_000)
    both.client.feed(both.server.take_all())
    assert taken(both.client) == [("goaway", first, 0, b"", [second])]
    assert (both.client.open_streams, both.client.queued) == (1, 0)


def test_a_goaway_ends_the_connection_with_its_code_and_text() -> None:
    both = pair()
    id = both.request()
    taken(both.server)
    taken(both.client)
    both.server.close_now(ErrorCodes.INTERNAL_ERROR, "broken")
    assert both.server.is_closed
    assert taken(both.server) == [("closed", ErrorCodes.INTERNAL_ERROR, "broken")]
    both.talk()
    assert taken(both.client) == [("goaway", id, ErrorCodes.INTERNAL_ERROR, b"broken", [])]
    both.server.close_now(ErrorCodes.INTERNAL_ERROR, "again")
    assert both.server.take_all() == b""


def test_h2_reads_our_goaway() -> None:
    both = with_h2(server())
    both.side.feed(window_update_frame(0, 0))
    (event,) = both.talk()
    assert isinstance(event, ConnectionTerminated)
    assert event.error_code == ErrorCodes.PROTOCOL_ERROR
    assert event.additional_data == b"WINDOW_UPDATE of the connection adds 0"
    assert [name for name, *_ in taken(both.side)] == ["violation", "closed"]


def test_a_lost_connection_drops_all_that_waits() -> None:
    both = pair()
    both.request(bytes(200_000))
    assert both.client.unsent > 100_000
    both.client.lose()
    assert (both.client.unsent, both.client.queued, both.client.take_all()) == (0, 0, b"")

"""The way of messages out of a connection of HTTP/2: frames, windows, turns, and room."""

from random import Random

import pytest
from h2.errors import ErrorCodes

from fastrpc_harness.http2_frames import window_update_frame
from fastrpc_harness.recording_http2 import RecordingHttp2
from tests.conftest import Scale
from tests.support.http2_frames import DATA, HEADERS, RST_STREAM, SETTINGS, raw
from tests.support.http2_talk import HEAD, OK, REQUEST, client, pair, prefixed, split, taken

MIB = 1_048_576
WIDE = (2**30).to_bytes(4, "big")


def wide_client(frame_bytes: int = 16_384) -> RecordingHttp2:
    """Return a client whose peer has windows of a gigabyte."""
    side = client()
    settings = b"\0\4" + WIDE + b"\0\5" + frame_bytes.to_bytes(4, "big")
    side.feed(raw(SETTINGS, settings) + window_update_frame(0, 2**30))
    side.take_all()
    taken(side)
    return side


def begun(side: RecordingHttp2) -> int:
    """Open a stream with its head, which leaves."""
    id = side.open_one()
    side.head(id, template=REQUEST)
    side.take_all()
    return id


def sizes(output: bytes) -> list[tuple[int, int]]:
    """Return stream and size of each frame of DATA."""
    return [
        (int.from_bytes(frame[5:9], "big"), len(frame) - 9) for frame in split(output) if frame[3] == DATA
    ]


# Frames


def test_short_messages_of_a_stream_share_a_frame() -> None:
    side = wide_client()
    id = begun(side)
    for _ in range(10):
        side.message(id, b"short")
    side.message(id, b"last", ends=True)
    (frame,) = split(side.take_all())
    assert frame[3:5] == bytes([DATA, 1])
    assert frame[9:] == prefixed(b"short") * 10 + prefixed(b"last")


def test_messages_of_several_streams_do_not() -> None:
    side = wide_client()
    first, second = begun(side), begun(side)
    for id in (first, first, second, first):
        side.message(id, b"short")
    assert sizes(side.take_all()) == [(first, 20), (second, 10), (first, 10)]


def test_a_shared_frame_obeys_the_limit_of_the_peer() -> None:
    side = wide_client()
    id = begun(side)
    for _ in range(5):
        side.message(id, bytes(7_000))
    assert sizes(side.take_all()) == [(id, 14_010), (id, 14_010), (id, 7_005)]


def test_nothing_is_added_to_a_frame_that_left() -> None:
    side = wide_client()
    id = begun(side)
    side.message(id, b"short")
    assert sizes(side.pump_once()) == [(id, 10)]
    side.message(id, b"short")
    assert sizes(side.pump_once()) == [(id, 10)]


def test_an_end_is_added_to_the_last_frame() -> None:
    side = wide_client()
    id = begun(side)
    side.message(id, b"short")
    side.data(id, b"", ends=True)
    (frame,) = split(side.take_all())
    assert frame[4] == 1
    id = begun(side)
    side.data(id, b"", ends=True)
    assert split(side.take_all()) == [raw(DATA, b"", 1, id)]


def test_a_frame_after_a_head_of_its_stream_is_a_new_one() -> None:
    both = pair()
    first, second = both.request(), both.request()
    both.server.head(first, template=HEAD)
    both.server.message(first, b"first")
    both.server.trailers(first, template=OK)
    both.server.head(second, template=HEAD)
    both.server.message(second, b"second")
    kinds = [(frame[3], frame[8]) for frame in split(both.server.take_all())]
    assert kinds == [(HEADERS, first), (DATA, first), (HEADERS, first), (HEADERS, second), (DATA, second)]


def test_a_long_message_has_frames_as_the_peer_takes_them() -> None:
    for frame_bytes, most in ((16_384, 16_384), (262_144, 262_144)):
        side = wide_client(frame_bytes)
        id = begun(side)
        payload = bytes(range(256)) * 2_048
        side.message(id, payload, ends=True)
        frames = split(side.take_all())
        assert b"".join(frame[9:] for frame in frames) == prefixed(payload)
        assert max(len(frame) - 9 for frame in frames) == most
        assert [frame[4] for frame in frames] == [0] * (len(frames) - 1) + [1]


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 16_384, 20_000, 81_915, 81_916, 200_000])
def test_a_message_of_any_size_comes_whole(size: int) -> None:
    both = pair(server_options={"window_bytes": MIB})
    both.server.widen_now()
    both.talk()
    id = both.client.open_one()
    both.client.head(id, template=REQUEST)
    both.client.message(id, bytes(size))
    both.client.message(id, b"after", ends=True)
    both.talk()
    assert taken(both.server)[-1] == ("data", id, prefixed(bytes(size)) + prefixed(b"after"), True)


# Windows


def test_a_message_waits_for_the_window_of_its_stream() -> None:
    both = pair(server_options={"window_bytes": 1_000})
    both.server.widen_now()
    both.talk()
    id = both.request(bytes(2_000))
    other = both.request(b"passes")
    assert [event[1:3] for event in taken(both.server)][1:] == [
        (id, prefixed(bytes(2_000))[:1_000]),
        (other, taken_request()),
        (other, prefixed(b"passes")),
    ]
    both.server.take_bytes(id, 1_000)
    both.talk()
    both.server.take_bytes(id, 1_000)
    both.talk()
    assert taken(both.server)[-1][3] is True


def taken_request() -> list[tuple[bytes, bytes]]:
    return list(REQUEST.pairs)


def test_a_message_waits_for_the_window_of_the_connection() -> None:
    side = client()
    side.feed(raw(SETTINGS, b"\0\4" + WIDE))
    side.take_all()
    first, second = begun(side), begun(side)
    side.message(first, bytes(65_000))
    side.message(second, bytes(1_000))
    assert sum(size for _, size in sizes(side.take_all())) == 65_535
    # Heads need no window.
    third = begun(side)
    side.feed(window_update_frame(0, 100_000))
    assert sum(size for _, size in sizes(side.take_all())) == 65_005 + 1_005 - 65_535
    side.message(third, b"short")
    assert sizes(side.take_all()) == [(third, 10)]


def test_any_windows_bring_all_bytes(scale: Scale) -> None:
    for seed in scale.seeds(30):
        random = Random(seed)
        both = pair(server_options={"window_bytes": random.choice([1, 100, 5_000, 65_535])})
        expected = {}
        for _ in range(5):
            id = both.client.open_one()
            both.client.head(id, template=REQUEST)
            expected[id] = b""
            for _ in range(random.randrange(1, 4)):
                payload = bytes(random.randrange(random.choice([10, 3_000, 20_000])))
                both.client.message(id, payload)
                expected[id] += prefixed(payload)
            both.client.data(id, b"", ends=True)
        received = dict.fromkeys(expected, b"")
        ended = set[int]()
        for _ in range(200_000):
            both.talk()
            for event in taken(both.server):
                if event[0] == "data":
                    received[event[1]] += event[2]
                    if event[3]:
                        ended.add(event[1])
                    else:
                        both.server.take_bytes(event[1], len(event[2]))
            if len(ended) == len(expected):
                break
        assert received == expected, seed
        assert (both.client.queued, both.client.passed) == (0, 0), seed


# Order


def test_short_messages_go_before_the_pieces_of_long_ones() -> None:
    side = wide_client()
    long, short = begun(side), begun(side)
    side.message(long, bytes(MIB))
    side.message(short, b"short")
    assert sizes(side.pump_once())[0] == (short, 10)


def test_long_messages_take_turns() -> None:
    side = wide_client()
    streams = [begun(side) for _ in range(4)]
    for id in streams:
        side.message(id, bytes(MIB), ends=True)
    shares = dict.fromkeys(streams, 0)
    for id, size in sizes(side.pump_once()):
        shares[id] += size
    assert set(shares.values()) == {65_536}
    while output := side.pump_once():
        for id, size in sizes(output):
            shares[id] += size
        assert max(shares.values()) - min(shares.values()) <= 65_536 + 4_096 + 5
    assert set(shares.values()) == {MIB + 5}


def test_a_turn_is_no_longer_than_the_share_of_the_stream() -> None:
    side = wide_client()
    side.message(begun(side), bytes(4 * MIB))
    assert len(side.pump_once()) < 262_144 + 16 * 9 + 4_096


def test_trailers_wait_behind_the_messages_of_their_stream() -> None:
    both = pair()
    id = both.request()
    taken(both.client)
    both.server.head(id, template=HEAD)
    both.server.message(id, bytes(100_000))
    both.server.trailers(id, [(b"grpc-status", b"0"), (b"key", b"value")])
    both.talk()
    assert [event[0] for event in taken(both.client)] == ["head", "data"]
    both.client.take_bytes(id, 65_535)
    both.talk()
    assert [event[0] for event in taken(both.client)] == ["data", "trailers", "over"]


def test_a_block_is_encoded_when_it_is_written() -> None:
    both = pair()
    first, second = both.request(), both.request()
    taken(both.client)
    both.server.head(first, template=HEAD)
    both.server.message(first, bytes(100_000))
    # Behind blocks that are written before it.
    both.server.trailers(first, [(b"grpc-status", b"0"), (b"content-encoding", b"first")])
    both.server.head(second, [(b":status", b"200"), (b"content-encoding", b"second")], ends=True)
    both.talk()
    both.client.take_bytes(first, 65_535)
    both.talk()
    heads = [event[2] for event in taken(both.client) if event[0] in ("head", "trailers")]
    assert heads[1:] == [
        [(b":status", b"200"), (b"content-encoding", b"second")],
        [(b"grpc-status", b"0"), (b"content-encoding", b"first")],
    ]


# Room


def test_a_stream_has_room_until_much_waits() -> None:
    side = wide_client()
    id = begun(side)
    count = 0
    while not side.await_turn_of(id):
        side.message(id, bytes(10_000))
        count += 1
    assert 262_144 / 10_005 < count < 262_144 / 10_005 + 2
    assert taken(side) == []
    side.take_all()
    assert taken(side) == [("sendable", id)]


def test_a_stream_without_a_window_has_no_room() -> None:
    both = pair()
    id = both.request(bytes(100_000), ends=False)
    assert both.client.await_turn_of(id)
    both.talk()
    assert taken(both.client) == []
    both.server.take_bytes(id, 65_535)
    both.talk()
    assert taken(both.client) == [("sendable", id)]


def test_messages_that_have_begun_or_wait_for_their_own_window_are_passed() -> None:
    side = client()
    side.feed(raw(SETTINGS, b"") + window_update_frame(0, MIB))
    begins, waits = begun(side), begun(side)
    side.message(begins, bytes(100_000))
    assert (side.queued, side.passed) == (100_000, 0)
    side.message(waits, bytes(65_530))
    side.take_all()
    assert (side.queued, side.passed) == (100_005 - 65_535, 100_005 - 65_535)
    # Behind it, and in place of one that has begun.
    side.message(begins, bytes(1_000))
    side.message(waits, bytes(50_000))
    assert (side.queued, side.passed) == (100_005 - 65_535 + 51_000, 100_005 - 65_535 + 51_000)
    for id in (begins, waits):
        side.reset_stream(id, ErrorCodes.CANCEL)
    assert (side.queued, side.passed) == (0, 0)


def test_streams_with_many_messages_take_turns() -> None:
    side = wide_client()
    streams = [begun(side), begun(side)]
    sent = dict.fromkeys(streams, 0)

    def send(id: int) -> None:
        while not side.await_turn_of(id):
            side.message(id, bytes(1_000))
            sent[id] += 1

    for id in streams:
        send(id)
    for _ in range(50):
        side.pump_once()
        for event in taken(side):
            send(event[1])
    first, second = sent.values()
    assert 0.8 < first / second < 1.25
    assert first > 1_000


def test_a_reset_stream_is_not_told_of_room() -> None:
    side = wide_client()
    id = begun(side)
    while not side.await_turn_of(id):
        side.message(id, bytes(10_000))
    side.reset_stream(id, ErrorCodes.CANCEL)
    frames = split(side.take_all())
    assert frames[-1][3] == RST_STREAM
    assert taken(side) == [("over", id)]


def test_streams_that_were_reset_do_not_stay_in_a_queue() -> None:
    side = client()
    side.feed(raw(SETTINGS, b"\0\4" + WIDE + b"\0\3" + WIDE))
    side.take_all()
    blocking = begun(side)
    side.message(blocking, bytes(70_000))
    side.take_all()
    for _ in range(1_000):
        id = begun(side)
        side.message(id, b"waits")
        side.reset_stream(id, ErrorCodes.CANCEL)
        side.take_all()
        assert side.dropped_streams <= 65
    assert side.queued == 70_005 - 65_535

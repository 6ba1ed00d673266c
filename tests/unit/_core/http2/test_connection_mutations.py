"""Connections whose bytes were changed: each ends with a reason or stays open, and sends only whole frames."""

from random import Random

import pytest

from fastrpc_harness.http2_frames import headers_frames, ping_frame, reset_frame, window_update_frame
from fastrpc_harness.recording_http2 import RecordingHttp2
from tests.conftest import Scale
from tests.support.http2_frames import DATA, END_STREAM, PRIORITY, SETTINGS, raw
from tests.support.http2_talk import GET, HEAD, OK, REQUEST, Event, client, pair, server, split

MOST_BYTES = 1_500


def recorded() -> tuple[list[bytes], list[bytes]]:
    """Return the frames of a client and of a server that had some calls of all kinds."""
    both = pair()
    both.client, both.server = client(), server()
    said: tuple[list[bytes], list[bytes]] = ([], [])

    def exchange() -> None:
        while True:
            ours, theirs = both.client.take_all(), both.server.take_all()
            said[0].extend(split(ours.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")))
            said[1].extend(split(theirs))
            if not ours and not theirs:
                return
            both.server.feed(ours)
            both.client.feed(theirs)

    exchange()
    for size in (0, 30, 1_000):
        id = both.client.open_one()
        both.client.head(id, [*REQUEST.pairs, (b"x-size", b"%d" % size)])
        both.client.message(id, bytes(size))
        exchange()
        both.client.message(id, b"last", ends=True)
        both.server.head(id, template=HEAD)
        both.server.message(id, bytes(size))
        both.server.trailers(id, template=OK)
        exchange()
    id = both.client.open_one()
    both.client.head(id, template=REQUEST)
    both.client.reset_stream(id, 8)
    both.server.drain("bye")
    exchange()
    return said


OF_CLIENT, OF_SERVER = recorded()

#: Frames that a peer may slip in between.
STRAY = [
    raw(SETTINGS, b"\0\3\0\0\0\1"),
    raw(SETTINGS, b"", 1),
    raw(PRIORITY, b"\0\0\0\1\0", 0, 3),
    raw(0x77, b"unknown"),
    ping_frame(bytes(8)),
    window_update_frame(0, 1_000),
    window_update_frame(1, 2**31 - 1),
    reset_frame(3, 8),
    headers_frames(7, GET),
    headers_frames(9, GET, END_STREAM),
    raw(DATA, b"stray", END_STREAM, 7),
    raw(DATA, bytes(10), 8, 7),
]


def mutated(random: Random, frames: list[bytes]) -> bytes:
    """Return frames with some bytes changed, some frames out of place, added or left out."""
    frames = list(frames)
    for _ in range(random.randrange(1, 4)):
        at = random.randrange(len(frames))
        way = random.randrange(5)
        if way == 0:
            frames.insert(at, random.choice(STRAY))
        elif way == 1:
            frames.insert(at, frames.pop(random.randrange(len(frames))))
        elif way == 2 and len(frames) > 3:
            del frames[at]
        elif way == 3:
            frames[at] = frames[at][: random.randrange(len(frames[at]) + 1)]
        else:
            frame = bytearray(frames[at] or b"\0")
            for _ in range(random.randrange(1, 4)):
                frame[random.randrange(len(frame))] = random.randrange(256)
            frames[at] = bytes(frame)
    return b"".join(frames)


def answering(side: RecordingHttp2) -> None:
    """Let a server answer each request as soon as it is whole."""

    def answer(event: Event) -> None:
        if event[0] in ("head", "data") and event[3]:
            side.head(event[1], template=HEAD)
            side.message(event[1], b"answer")
            side.trailers(event[1], template=OK)

    side.reaction = answer


@pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])
def test_changed_bytes_lead_to_an_end_or_to_whole_frames(is_client: bool, scale: Scale) -> None:
    ended = 0
    seeds = scale.seeds(50_000)
    for seed in seeds:
        random = Random(seed)
        side = client() if is_client else server()
        if is_client:
            for _ in range(4):
                id = side.open_one()
                side.head(id, template=REQUEST)
                side.message(id, b"request", ends=True)
        else:
            answering(side)
            side.feed(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        data = mutated(random, OF_SERVER if is_client else OF_CLIENT)
        said = b""
        while data:
            size = random.randrange(1, MOST_BYTES)
            side.feed(data[:size])
            data = data[size:]
            said += side.take_all()
        ended += side.is_closed
        said = said.removeprefix(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        assert b"".join(split(said)) == said, seed
        events = [event[0] for event in side.events]
        assert events.count("closed") <= 1, seed
        if side.is_closed:
            assert events[-1] == "closed", seed
            assert side.closed_code > 0, seed
            assert side.closed_text, seed
        assert side.queued == 0 or not side.is_closed, seed
    # Most changes are noticed, some are honest.
    assert len(seeds) * 0.2 < ended < len(seeds)

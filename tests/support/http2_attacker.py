"""Attacks on a server of HTTP/2 as a process: `python -m tests.support.http2_attacker PORT NAME…` (`attacking`)."""

import gzip
import itertools
from collections.abc import Callable

from tests.support.attacking import AT_ONCE, Attack, Pieces, again, run, then_silence
from tests.support.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    raw,
)

__all__ = ["ATTACKS", "MALFORMED", "PREFACE", "WRONG_STARTS", "call_of", "head", "literal", "packed_call"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """Return a field without Huffman code, by default one that no table keeps."""
    return bytes((first,)) + bytes((len(name),)) + name + _length(len(value)) + value


def _length(size: int) -> bytes:
    if size < 127:
        return bytes((size,))
    found, size = bytearray((127,)), size - 127
    while size >= 128:
        found.append(size & 127 | 128)
        size >>= 7
    return bytes((*found, size))


def call_of(method: bytes) -> bytes:
    """Return the block of a call: POST, http, and its path."""
    return (
        b"\x83\x86"
        + literal(b":path", b"/test.v1.Raw/" + method)
        + literal(b":authority", b"a")
        + literal(b"content-type", b"application/grpc")
    )


#: A call of a method that echoes its input.
CALL = call_of(b"echo")
MESSAGE = bytes(5)


def head(stream: int, block: bytes = CALL, flags: int = END_HEADERS) -> bytes:
    return raw(HEADERS, block, flags, stream)


def streams(frames: Callable[[int], bytes]) -> Pieces:
    """Yield the frames of one new stream after another."""
    for first in itertools.count(1, 2 * AT_ONCE):
        yield b"".join(frames(stream) for stream in range(first, first + 2 * AT_ONCE, 2))


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


BIG = literal(b"x-big", b"x" * 3_900, 0x40)
#: A block that is small, and large once it is decoded: a large entry of the table, and many references to it.
BOMB = CALL + BIG + b"\xbe" * 15_000

#: Small fields that refer to one entry of the table, as many as a block may have once it is decoded.
REFERENCES = literal(b"cookie", b"a", 0x40) + b"\xbe" * 100
HOSTS = literal(b"host", b"a" * 60, 0x40) + b"\xbe" * 100
#: Windows of new streams: zero, then one byte.
NO_WINDOW, SHORT_WINDOW = (raw(SETTINGS, b"\0\4" + number(size)) for size in (0, 1))
#: A message of a few kilobytes that is larger than a message may be, unpacked.
PACKED = gzip.compress(bytes(20 * 1024 * 1024))

#: Frames with which no stream begins, and no connection.
WRONG_STARTS = (
    raw(DATA, MESSAGE, 0, 1),
    head(2),
    raw(CONTINUATION, CALL, END_HEADERS, 1),
    raw(RST_STREAM, number(8), 0, 1),
    raw(WINDOW_UPDATE, number(1), 0, 1),
    head(3) + head(1),
    head(0),
    raw(PUSH_PROMISE, number(2) + CALL, END_HEADERS, 1),
)

#: Frames that are malformed in any state of a connection.
MALFORMED = (
    raw(SETTINGS, b"\0" * 5),
    raw(PING, b"\0" * 7),
    raw(GOAWAY, b"\0" * 3),
    raw(WINDOW_UPDATE, b"\0" * 3),
    raw(PRIORITY, b"\0" * 4, 0, 1),
    raw(RST_STREAM, b"\0" * 3, 0, 1),
    raw(HEADERS, b"\xff" * 9, END_HEADERS, 1),
    raw(DATA, b"\xff", 8, 1),
    b"\xff" * 9,
)

#: One of them for each connection.
_STARTS, _MISTAKES = itertools.cycle(WRONG_STARTS), itertools.cycle(MALFORMED)


def held_calls(count: int, block: bytes) -> Pieces:
    """Yield calls whose answers no window lets out."""
    yield NO_WINDOW
    for stream in range(1, 2 * count, 2):
        yield head(stream, block) + raw(DATA, MESSAGE, END_STREAM, stream)


def packed_call(stream: int) -> bytes:
    """Return a call with a message that is too large once it is unpacked."""
    data = b"\1" + number(len(PACKED)) + PACKED
    parts = [data[place : place + 16_384] for place in range(0, len(data), 16_384)]
    frames = [raw(DATA, part, END_STREAM * (part is parts[-1]), stream) for part in parts]
    return head(stream, CALL + literal(b"grpc-encoding", b"gzip")) + b"".join(frames)


#: The bytes of each attack after its opening.
_PIECES: dict[str, Callable[[], Pieces]] = {
    "rapid_reset": lambda: streams(lambda id: head(id) + raw(RST_STREAM, number(8), 0, id)),
    "reset_of_whole_requests": lambda: streams(
        lambda id: head(id) + raw(DATA, MESSAGE, END_STREAM, id) + raw(RST_STREAM, number(8), 0, id)
    ),
    "made_you_reset_by_window": lambda: streams(lambda id: head(id) + raw(WINDOW_UPDATE, number(0), 0, id)),
    "made_you_reset_by_data": lambda: streams(
        lambda id: head(id, flags=END_HEADERS | END_STREAM) + raw(DATA, MESSAGE, 0, id)
    ),
    "continuation_flood": lambda: again(raw(CONTINUATION, b"", 0, 1), head(1, flags=0)),
    "continuation_of_many_bytes": lambda: again(raw(CONTINUATION, bytes(1_000), 0, 1), head(1, flags=0)),
    "hpack_bomb": lambda: streams(lambda id: head(id, BOMB, END_HEADERS | END_STREAM)),
    "size_updates": lambda: streams(lambda id: head(id, b"\x20\x3f\xe1\x1f" * 8 + CALL)),
    "pings": lambda: again(raw(PING, bytes(8))),
    "settings": lambda: again(raw(SETTINGS, b"\0\4\0\0\xff\xff")),
    "empty_data": lambda: again(raw(DATA, b"", 0, 1), head(1)),
    "padded_data": lambda: again(raw(DATA, b"\xff" + bytes(255), 8, 1), head(1)),
    "priorities": lambda: again(raw(PRIORITY, bytes(5), 0, 1)),
    "unknown_frames": lambda: again(raw(0x77, b"unknown")),
    "names_without_bytes": lambda: streams(lambda id: head(id, CALL + literal(b"", b"x"))),
    "names_in_upper_case": lambda: streams(lambda id: head(id, CALL + literal(b"Host", b"b"))),
    "fields_of_connections": lambda: streams(lambda id: head(id, CALL + literal(b"transfer-encoding", b"x"))),
    "data_behind_the_end": lambda: again(raw(DATA, MESSAGE, END_STREAM, 1), head(1)),
    "dribbled_data": lambda: again(raw(DATA, b"\0", 0, 1), head(1)),
    "window_updates": lambda: again(raw(WINDOW_UPDATE, number(1), 0, 0)),
    "no_windows": lambda: itertools.chain(
        [raw(SETTINGS, b"\0\4\0\0\0\0")],
        streams(lambda id: head(id) + raw(DATA, MESSAGE, END_STREAM, id)),
    ),
    "half_requests": lambda: streams(lambda id: head(id) + raw(DATA, b"\0\0\x10\0\0" + bytes(20), 0, id)),
    "unread_answers": lambda: streams(
        lambda id: head(id) + raw(DATA, b"\0" + number(10_000) + bytes(10_000), END_STREAM, id)
    ),
    "held_answers": lambda: then_silence(held_calls(50, call_of(b"give") + REFERENCES)),
    "copies_of_a_host": lambda: streams(lambda id: head(id, CALL + HOSTS, END_HEADERS | END_STREAM)),
    "windows_of_many_streams": lambda: itertools.chain(
        held_calls(100, call_of(b"give")), itertools.cycle((SHORT_WINDOW, NO_WINDOW))
    ),
    "dribbles_of_many_streams": lambda: itertools.chain(
        map(head, range(1, 2_001, 2)),
        itertools.cycle(raw(DATA, b"\0", 0, stream) for stream in range(1, 2_001, 2)),
    ),
    "wrong_starts": lambda: then_silence([next(_STARTS)]),
    "malformed_behind_goaway": lambda: then_silence(
        [head(1), raw(GOAWAY, bytes(8)), next(_MISTAKES), head(3)]
    ),
    "windows_that_overflow": lambda: itertools.chain(
        held_calls(1, call_of(b"give")), again(raw(WINDOW_UPDATE, number(2**31 - 1), 0, 1))
    ),
    "windows_below_zero": lambda: itertools.chain(
        [head(1, call_of(b"give")) + raw(DATA, MESSAGE, END_STREAM, 1)], again(NO_WINDOW)
    ),
    "messages_that_state_too_much": lambda: streams(
        lambda id: head(id) + raw(DATA, b"\0" + number(2**31 - 1) + bytes(100), 0, id)
    ),
    "truncated_messages": lambda: streams(
        lambda id: head(id) + raw(DATA, b"\0" + number(100) + bytes(10), END_STREAM, id)
    ),
    "packed_messages": lambda: then_silence(map(packed_call, range(1, 5, 2))),
    "unknown_methods": lambda: streams(
        lambda id: head(id, CALL.replace(b"/echo", b"/none")) + raw(DATA, MESSAGE, END_STREAM, id)
    ),
}

#: Attacks that read none of the server's bytes.
_DEAF = {"unread_answers", "no_windows"}
#: Attacks of one connection each.
_SINGLE = {"held_answers", "wrong_starts", "malformed_behind_goaway", "packed_messages"}

ATTACKS = {
    name: Attack(pieces, PREFACE + raw(SETTINGS), is_deaf=name in _DEAF, comes_back=name not in _SINGLE)
    for name, pieces in _PIECES.items()
}

if __name__ == "__main__":
    run(ATTACKS)

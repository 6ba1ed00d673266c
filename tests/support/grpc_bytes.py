"""Whole requests of gRPC, and of pages by HTTP/2, as bytes that need only an opening before them: a test may cut them.

connection.send(OPENING + request("/shop/price", text_field("apple")))
"""

import json
from typing import Any

from hpack import Decoder, Encoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame

from tests.support.http2_frames import OPENING

__all__ = ["OPENING", "data", "message", "number_field", "page", "request", "said", "text_field", "tunnel"]

#: The frame size of a peer that announced nothing.
FRAME_BYTES = 16_384


def message(payload: bytes, *, flags: int = 0) -> bytes:
    """Return a message with its prefix."""
    return bytes((flags,)) + len(payload).to_bytes(4, "big") + payload


def number_field(value: int, number: int = 1) -> bytes:
    """Return a field of a protobuf message that has a whole number."""
    return bytes((number << 3,)) + _varint(value)


def text_field(text: str, number: int = 1) -> bytes:
    """Return a field of a protobuf message that has a text."""
    content = text.encode()
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found, value = found + bytes((value & 127 | 128,)), value >> 7
    return found + bytes((value,))


def request(
    path: str,
    payload: bytes,
    *fields: tuple[str, str],
    stream: int = 1,
    flags: int = 0,
    until: int | None = None,
) -> bytes:
    """Return a request of one message, whose block of fields needs no other one before it.

    Args:
        flags: the flags of the message's prefix.
        until: send the given number of bytes of the message and its prefix, and no end.
    """
    content = message(payload, flags=flags)[:until]
    given = [("content-type", "application/grpc"), *fields]
    return _frames(path, given, content, stream, ends=until is None)


def page(path: str, value: Any, *fields: tuple[str, str], stream: int = 1, until: int | None = None) -> bytes:
    """Return a request of the gateway in JSON.

    Args:
        until: send the given number of bytes of the body, and no end.
    """
    content = json.dumps(value).encode()
    given = [("content-type", "application/json"), ("content-length", str(len(content))), *fields]
    return _frames(path, given, content[:until], stream, ends=until is None)


def tunnel(path: str, *fields: tuple[str, str], stream: int = 1) -> bytes:
    """Return the extended CONNECT of a WebSocket (RFC 8441)."""
    head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", path)]
    block = Encoder().encode([*head, (":authority", "localhost"), ("sec-websocket-version", "13"), *fields])
    return HeadersFrame(stream, block, flags=["END_HEADERS"]).serialize()


def data(content: bytes, *, stream: int = 1) -> bytes:
    """Return DATA of an open stream."""
    return DataFrame(stream, content).serialize()


def _frames(path: str, fields: list[tuple[str, str]], content: bytes, stream: int, *, ends: bool) -> bytes:
    """Return a head and DATA."""
    head = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    block = Encoder().encode([*head, *fields])
    parts = [content[at : at + FRAME_BYTES] for at in range(0, len(content), FRAME_BYTES)]
    frames = [DataFrame(stream, part) for part in parts]
    if ends:
        frames[-1].flags.add("END_STREAM")
    head_frame = HeadersFrame(stream, block, flags=["END_HEADERS"])
    return b"".join(frame.serialize() for frame in (head_frame, *frames))


def said(received: bytes) -> bytes:
    """Return the bytes of whole frames that came, header blocks as text."""
    view, decoder, found = memoryview(received), Decoder(), b""
    while len(view) >= 9:
        frame, size = Frame.parse_frame_header(view[:9])
        if len(view) < 9 + size:
            break
        frame.parse_body(view[9 : 9 + size])
        view = view[9 + size :]
        if isinstance(frame, HeadersFrame):
            fields: Any = decoder.decode(frame.data, raw=True)
            found += b"".join(b"%b: %b\n" % field for field in fields)
        elif isinstance(frame, DataFrame):
            found += frame.data
    return found

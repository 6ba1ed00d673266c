"""The frames that a client of WebSocket sends, and those that it gets, written from RFC 6455."""

import struct
from dataclasses import dataclass

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "client_frame",
    "closing",
    "read_frame",
]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

#: The mask of the examples in RFC 6455, section 5.7.
MASK = b"\x37\xfa\x21\x3d"


def client_frame(
    opcode: int,
    content: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    is_masked: bool = True,
    width: int | None = None,
    length: int | None = None,
) -> bytes:
    """Return a frame.

    Args:
        width: the bytes of the length after the first two bytes, 0, 2 or 8; None: as few as possible.
        length: the stated length, for any content.
    """
    size = len(content) if length is None else length
    if width is None:
        width = 0 if size < 126 else 2 if size < 65_536 else 8
    first = final << 7 | reserved << 4 | opcode
    second = is_masked << 7 | {0: size, 2: 126, 8: 127}[width]
    written = {0: b"", 2: struct.pack("!H", size & 0xFFFF), 8: struct.pack("!Q", size)}[width]
    if not is_masked:
        return bytes((first, second)) + written + content
    whole = int.from_bytes(content, "big") ^ int.from_bytes(
        (MASK * (len(content) // 4 + 1))[: len(content)], "big"
    )
    return bytes((first, second)) + written + MASK + whole.to_bytes(len(content), "big")


def closing(code: int, reason: bytes = b"") -> bytes:
    """Return a close frame."""
    return client_frame(CLOSE, struct.pack("!H", code) + reason)


@dataclass(frozen=True)
class Frame:
    """A frame of a server."""

    opcode: int
    content: bytes

    @property
    def code(self) -> int:
        """The code of a close frame."""
        assert self.opcode == CLOSE
        return int.from_bytes(self.content[:2], "big")


def read_frame(data: bytes) -> tuple[Frame, int] | None:
    """Return the first frame of these bytes, and its size; None: it is not whole."""
    if len(data) < 2:
        return None
    assert data[0] & 0x80, "a server never cuts a message"
    assert not data[0] & 0x70
    assert not data[1] & 0x80, "a server never masks"
    width = {126: 2, 127: 8}.get(data[1], 0)
    if len(data) < 2 + width:
        return None
    size = int.from_bytes(data[2 : 2 + width], "big") if width else data[1]
    if len(data) < 2 + width + size:
        return None
    return Frame(data[0] & 0x0F, data[2 + width : 2 + width + size]), 2 + width + size

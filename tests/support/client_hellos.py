"""ClientHellos: one of OpenSSL, and made ones."""

import ssl
import struct
from collections.abc import Sequence

__all__ = ["hello_of_openssl", "made_hello", "named", "recorded"]


def hello_of_openssl(host: str | None) -> bytes:
    """Return the ClientHello of a client that dials a host."""
    context = ssl.create_default_context()
    context.check_hostname = host is not None
    outgoing = ssl.MemoryBIO()
    opened = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host)
    try:
        opened.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


def named(*names: bytes, kind: int = 0) -> bytes:
    """Return an extension `server_name`."""
    entries = b"".join(struct.pack(">BH", kind, len(name)) + name for name in names)
    return struct.pack(">HHH", 0, len(entries) + 2, len(entries)) + entries


def made_hello(*extensions: bytes, ballast: int = 0) -> bytes:
    """Return the message of a ClientHello with these extensions, and one of zeros."""
    filled = (*extensions, struct.pack(">HH", 21, ballast) + bytes(ballast)) if ballast else extensions
    block = b"".join(filled)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += struct.pack(">H", len(block)) + block
    return b"\x01" + len(body).to_bytes(3) + body


def recorded(message: bytes, sizes: Sequence[int] = ()) -> bytes:
    """Return a message in records of these sizes, its remainder in records of 16,384 bytes."""
    pieces = []
    for size in sizes:
        pieces.append(message[:size])
        message = message[size:]
    pieces += [message[start : start + 16_384] for start in range(0, len(message), 16_384)]
    return b"".join(b"\x16\x03\x01" + len(piece).to_bytes(2) + piece for piece in pieces)

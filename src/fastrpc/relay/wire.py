"""The bytes between a relay and a server on a data connection.

::

    server ──► relay   "fastrpc-relay/1\\n", token (32)
    server ◄── relay   once a caller has arrived: PROXY v2 header, HMAC-SHA256 of it by the key of the token (32)
    then the bytes of the caller, which are TLS, both ways
"""

import hmac
import secrets
import struct
from typing import Any, Final, NamedTuple

from fastrpc.networks import packed_address
from fastrpc.server.proxied import parse_header

__all__ = ["GREETING", "TOKEN_BYTES", "ClaimTicket", "new_ticket", "opened_header", "signed_header"]

GREETING: Final = b"fastrpc-relay/1\n"
TOKEN_BYTES: Final = 32
_KEY_BYTES: Final = 32
_MAC_BYTES: Final = 32

#: The start of a PROXY v2 header: its signature, version 2 and the command PROXY (doc/proxy-protocol.txt, 2.2).
_START: Final = b"\r\n\r\n\x00\r\nQUIT\n\x21"
_FAMILIES: Final = {4: 0x11, 16: 0x21}
_Place = tuple[str, int]


class ClaimTicket(NamedTuple):
    """Lets a server open one data connection."""

    token: bytes
    key: bytes


def new_ticket() -> ClaimTicket:
    """Return a ticket of random bytes."""
    return ClaimTicket(secrets.token_bytes(TOKEN_BYTES), secrets.token_bytes(_KEY_BYTES))


def signed_header(caller: Any, key: bytes) -> bytes:
    """Return the header for a caller, as sockets name it, and its HMAC."""
    address = packed_address(caller[0])
    # A server has no use for the relay's own address.
    body = address + bytes(len(address)) + struct.pack(">HH", caller[1], 0)
    header = _START + struct.pack(">BH", _FAMILIES[len(address)], len(body)) + body
    return header + hmac.digest(key, header, "sha256")


def opened_header(received: bytes, key: bytes) -> tuple[int, _Place] | None:
    """Return the bytes of the header with its HMAC, and the caller's address; None while more bytes are needed.

    Raises:
        ValueError: the bytes are not a header, or its HMAC is wrong.
    """
    parsed = parse_header(received)
    if parsed is None:
        return None
    size, caller = parsed
    if len(received) < size + _MAC_BYTES:
        return None
    expected = hmac.digest(key, received[:size], "sha256")
    if not hmac.compare_digest(expected, received[size : size + _MAC_BYTES]):
        raise ValueError("the HMAC of its PROXY header is wrong")
    if caller is None:
        raise ValueError("its PROXY header names no caller")
    return size + _MAC_BYTES, caller

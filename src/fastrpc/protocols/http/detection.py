"""HTTP/1.1 on the server side: detection, and the byte stream of a connection."""

import asyncio

from fastrpc._core.http1.connection import HttpConnection
from fastrpc.protocols.base import Match, StreamSession

__all__ = ["detect_http1", "http1_stream"]

#: The bytes in the names of all methods in use.
_LETTERS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")

#: A limit that no method's name reaches.
_MOST_LETTERS = 16

#: The start of HTTP/2 connections (RFC 9113, section 3.4), which is no method of HTTP/1.1.
_HTTP2_METHOD = b"PRI"


def detect_http1(data: bytes) -> Match:
    """Return whether a connection begins with a method in capital letters, a space and the start of a target."""
    method, space, target = data.partition(b" ")
    if not _LETTERS.issuperset(method) or len(method) > _MOST_LETTERS or (space and not method):
        return Match.NO
    if space and method == _HTTP2_METHOD:
        return Match.NO
    if not target:
        return Match.MORE
    return Match.YES if target[:1] in (b"/", b"*", b"h", b"H") else Match.NO


def http1_stream(connection: HttpConnection, loop: asyncio.AbstractEventLoop) -> StreamSession:
    """Return the byte stream of a connection, for a transport."""
    return StreamSession(connection, loop=loop)

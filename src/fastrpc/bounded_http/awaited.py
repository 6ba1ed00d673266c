"""GET requests whose response a loop awaits; a thread takes over when the loop would block."""

import asyncio
import re
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeAlias

from fastrpc.bounded_http.client import BoundedHttpClient, Response
from fastrpc.bounded_http.timed_socket import TimedSocket

__all__ = ["Remaining", "begin_get"]

#: The number of pieces of a response that the loop receives before a thread takes over, as a server may send one byte
#: at a time.
MOST_PIECES: Final = 16

#: The longest response that the loop receives (MOST_BYTES), and the longest head (MOST_HEAD_BYTES).
MOST_BYTES: Final = 65_536
MOST_HEAD_BYTES: Final = 4_096

# A head that needs no parser: status 200, no folded line.
_HEAD: Final = re.compile(rb"HTTP/1\.1 200 [^\r\n]*\r\n(?:[0-9A-Za-z-]+:[^\r\n]*\r\n)+\r\n")
_LENGTH: Final = re.compile(rb"\ncontent-length:([^\r\n]*)", re.IGNORECASE)
# Header fields that change how the body is encoded or delimited, or close the connection.
_SPECIAL: Final = re.compile(rb"\n(?:content-encoding|transfer-encoding|connection|upgrade):", re.IGNORECASE)

#: Text that http.client would refuse or encode.
_UNSAFE: Final = re.compile(r"[^\t\x20-\x7e]")

#: Reads the remaining bytes of a response, in a thread; it raises like `BoundedHttpClient.request`.
Remaining: TypeAlias = Callable[[], Response]


async def begin_get(
    client: BoundedHttpClient, target: str, headers: Mapping[str, str], *, held_seconds: float = 0.0
) -> bytes | Remaining:
    """Return the body of a response with status 200, or the function with which a thread reads the response.

    A thread is needed to connect, and for a response that is long, arrives in many pieces, has an error status or an
    unusual head.

    Args:
        target: path and query.
        held_seconds: how long the server may hold the request before it responds.

    Raises:
        HttpError: the connection failed, or the response did not arrive in time.
    """
    request = _request(client.authority, target, headers)
    connected = None if request is None else client.kept(held_seconds)
    if request is None or connected is None:
        return partial(client.request, "GET", target, headers=headers, held_seconds=held_seconds)
    received = bytearray()
    with client.using():
        connected.send_now(request)
        for _ in range(MOST_PIECES):
            await _until_readable(connected)
            if not _receive(connected, received):
                break
            body = _body_of(received)
            if isinstance(body, bytes):
                return body
            if not body:
                break
    connected.give_back(received)
    return partial(client.remaining, connected)


def _request(authority: str, target: str, headers: Mapping[str, str]) -> bytes | None:
    """Return a request; None if http.client would refuse or encode one of its texts."""
    fields = {"Host": authority, "Accept-Encoding": "identity", **headers}
    lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if " " in target or any(map(_UNSAFE.search, lines)):
        return None
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _until_readable(connected: TimedSocket) -> None:
    """Wait for bytes of a response.

    Raises:
        TimeoutError: the time for the response has passed.
    """
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[bool] = loop.create_future()
    number = connected.socket.fileno()
    timer = loop.call_later(connected.seconds_left, _end, readable, False)
    loop.add_reader(number, _end, readable, True)
    try:
        if not await readable:
            raise TimeoutError
    finally:
        loop.remove_reader(number)
        timer.cancel()


def _end(readable: asyncio.Future[bool], is_readable: bool) -> None:
    if not readable.done():
        readable.set_result(is_readable)


def _receive(connected: TimedSocket, received: bytearray) -> bool:
    """Add the received bytes; return whether the stream continues."""
    one = connected.socket
    while True:
        piece = connected.receive_now()
        if piece is None:
            return True
        received += piece
        # The selector does not report bytes that TLS has already decrypted.
        is_more = isinstance(one, ssl.SSLSocket) and one.pending() > 0
        if not piece or not is_more or len(received) > MOST_BYTES:
            return bool(piece)


def _body_of(received: bytearray) -> bytes | bool:
    """Return the body if the response is complete, otherwise whether the loop may receive the remaining bytes."""
    end = received.find(b"\r\n\r\n") + 4
    if end < 4:
        return len(received) < MOST_HEAD_BYTES
    head = bytes(received[:end])
    lengths = _LENGTH.findall(head)
    if not _HEAD.fullmatch(head) or _SPECIAL.search(head) or len(lengths) != 1:
        return False
    text = lengths[0].strip(b" \t")
    if not text.isdigit() or len(text) > len(str(MOST_BYTES)):
        return False
    whole = end + int(text)
    if len(received) == whole:
        return bytes(received[end:])
    return len(received) < whole <= MOST_BYTES

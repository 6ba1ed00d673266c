"""An endless response, line by line."""

import http.client
import socket
import time
from collections import deque
from contextlib import AbstractContextManager
from typing import Protocol

from fastrpc.bounded_http.timed_socket import PIECE_BYTES, REST_SECONDS, HttpError, TimedSocket

__all__ = ["STREAM_BYTES_PER_SECOND", "LineStream"]

#: Bytes a second of an endless response, after a first burst of the size of a whole response. A thousand records that
#: change every second need less; parsing this many bytes takes some 2 % of a core.
STREAM_BYTES_PER_SECOND = 1024 * 1024

#: Bytes charged for each received piece in addition to its size. Without them, chunks of one byte would occupy a core
#: before their bytes exceeded the rate.
PIECE_COST_BYTES = 64

#: The shortest wait for bytes of a stream: `receive(0)` waits this long, to check for bytes that have arrived.
_LEAST_SECONDS = 0.001


class _Connected(Protocol):
    """The client whose connection a stream occupies."""

    def using(self) -> AbstractContextManager[None]:
        """Use the connection in this thread; a failure drops the connection and is raised as HttpError."""

    def drop(self, only: socket.socket | None = None) -> None:
        """Drop the connection; with `only`, drop it only if it uses this socket."""


class LineStream:
    """The lines of an endless response, for the thread that made the request.

    A line is refused if it is longer than a whole response may be, or takes more than `REST_SECONDS` from its first
    byte to its last; the response is refused if it is silent for too long or sends too many bytes a second.
    """

    def __init__(
        self,
        client: _Connected,
        response: http.client.HTTPResponse,
        source: TimedSocket,
        most_bytes: int,
        idle_seconds: float,
        bytes_per_second: int,
    ) -> None:
        self.status = response.status
        self._client = client
        self._response = response
        self._source = source
        self._most_bytes = most_bytes
        self._idle_seconds = idle_seconds
        self._bytes_per_second = bytes_per_second
        self._lines: deque[bytes] = deque()
        # `_begun`: the beginning of the next line. `_begun_at`: the instant of its first byte.
        self._begun = bytearray()
        self._begun_at = 0.0
        self._heard_at = time.monotonic()
        # `_allowed`: the bytes that may be received now, as computed at the last check.
        self._allowed = float(most_bytes)
        self._counted = source.received
        self._is_over = False

    def receive(self, wait_seconds: float) -> bytes | None:
        """Return the next line, without its end; None if no line begins within `wait_seconds`.

        Empty lines are left out; b"" is the end of the response.

        Raises:
            HttpError: the connection failed, or the response broke a rule.
        """
        until = time.monotonic() + wait_seconds
        while not self._lines and not self._is_over:
            with self._client.using():
                if not self._take(until):
                    return None
        return self._lines.popleft() if self._lines else b""

    def close(self) -> None:
        """Discard the unread part of the response, and drop its connection. Closing twice is fine."""
        self._is_over = True
        self._lines.clear()
        self._client.drop(self._source.socket)

    def _take(self, until: float) -> bool:
        """Receive some bytes; return whether any arrived before the given instant."""
        if self._response.isclosed():
            # CPython 3.13 closes a response as soon as its whole length was read.
            self._cut(b"")
            return True
        due = (
            self._begun_at + REST_SECONDS if self._begun else min(until, self._heard_at + self._idle_seconds)
        )
        self._source.allow(self._most_bytes, max(due, time.monotonic() + _LEAST_SECONDS))
        try:
            # `peek` receives nothing while the buffer holds bytes, and a timeout loses no bytes.
            self._response.fp.peek(1)
        except TimeoutError:
            if self._begun:
                raise HttpError(f"a line did not end within {REST_SECONDS:g} s") from None
            if time.monotonic() >= self._heard_at + self._idle_seconds:
                raise HttpError(f"the server was silent for {self._idle_seconds:g} s") from None
            return False
        heard_at, self._heard_at = self._heard_at, time.monotonic()
        self._source.allow(self._most_bytes, self._heard_at + REST_SECONDS)
        piece = self._response.read1(PIECE_BYTES)
        if self._response.chunked and self._response.chunk_left == 0:
            # Read the end of the chunk now. `http.client` would read it only before the next chunk, which may arrive
            # much later.
            self._response.fp.read(2)
            self._response.chunk_left = None
        self._check_rate(self._heard_at - heard_at)
        self._cut(piece)
        return True

    def _check_rate(self, seconds: float) -> None:
        """Refuse more bytes than allowed; `seconds` have passed since the last call."""
        most = min(float(self._most_bytes), self._allowed + seconds * self._bytes_per_second)
        self._allowed = most - (self._source.received - self._counted) - PIECE_COST_BYTES
        self._counted = self._source.received
        if self._allowed < 0:
            raise HttpError(f"the server sends more than {self._bytes_per_second:,} bytes a second")

    def _cut(self, piece: bytes) -> None:
        """Split received bytes into lines; b"" means the end of the response."""
        if not piece:
            self._is_over = True
            self._client.drop(self._source.socket)
            if self._begun:
                failure = HttpError("the answer ended within a line")
                failure.is_cut = True
                raise failure
            return
        if not self._begun:
            self._begun_at = self._heard_at
        begun, *lines = piece.split(b"\n")
        self._begun += begun
        if len(self._begun) > self._most_bytes:
            raise HttpError(f"a line has more bytes than the limit of {self._most_bytes:,}")
        for line in lines:
            if whole := bytes(self._begun).strip(b"\r"):
                self._lines.append(whole)
            self._begun = bytearray(line)
            self._begun_at = self._heard_at

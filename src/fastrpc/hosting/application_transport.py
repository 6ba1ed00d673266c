"""The transport of one exchange: its input comes from the events of a scope, its output is read for the answer.

::

    feed ──► session's buffer, outside of any task        write ──► kept ──► read

Both directions have flow control: `feed` returns once the session has taken all input, and a session waits while its
output is not read, like with a socket.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final, NamedTuple

from fastrpc._core.http.connection import GatewayConnection
from fastrpc.protocols.base import ServerParts, StreamSession
from fastrpc.protocols.http.gateway import gateway_engine

__all__ = ["ExchangeTransport", "Surroundings"]

#: The size hint for `get_buffer`, the same as uvloop's.
_SIZE_HINT: Final = 65_536

#: Seconds between checks whether calls without an answer still run after the answer was sent.
_LOOK_SECONDS: Final = 1.0


class Surroundings(NamedTuple):
    """The environment of an exchange.

    It has the context of callbacks, the parts that engines share, and whether the server is closing.
    """

    context: Context
    parts: ServerParts
    is_over: bool


class ExchangeTransport(asyncio.Transport):
    """A transport whose other end is the answer to one scope."""

    def __init__(self, surroundings: Surroundings, extra: dict[str, Any]) -> None:
        super().__init__(extra)
        self._context, self._parts = surroundings.context, surroundings.parts
        self._loop = self._parts.loop
        self._engine: GatewayConnection | None = None
        self._session: StreamSession | None = None
        # Input that the session has not taken yet, since reading may be paused.
        self._input: deque[memoryview] = deque()
        self._is_paused = False
        self._was_taken = asyncio.Event()
        self._was_taken.set()
        # Output that was written and not read yet.
        self._output: list[bytes] = []
        self._size = 0
        self._low, self._high = _SIZE_HINT // 4, _SIZE_HINT
        self._is_full = False
        self._was_written = asyncio.Event()
        self._is_closing = surroundings.is_over

    # The scope's side

    async def feed(self, data: bytes) -> None:
        """Pass bytes to the session; return once it has taken them, or has ended."""
        self.push(data)
        await self._was_taken.wait()

    def push(self, data: bytes) -> None:
        """Pass a few bytes to the session, without waiting until it has taken them."""
        if data and not self._is_closing:
            self._input.append(memoryview(data))
            self._was_taken.clear()
            self._call_soon(self._pass_on)

    async def read(self) -> bytes:
        """Return the next bytes of the session; empty at its end."""
        while not self._output:
            if self._is_closing:
                return b""
            self._was_written.clear()
            await self._was_written.wait()
        found = b"".join(self._output)
        self._output.clear()
        self._size = 0
        if self._is_full:
            self._call_soon(self._resume_writer)
        return found

    def leave(self) -> None:
        """Close after the answer, once calls without an answer, such as JSON-RPC notifications, have ended."""
        if self._engine is None or not self._engine.stats()["calls"]:
            self.abort()
        elif not self._is_closing:
            self._loop.call_later(_LOOK_SECONDS, self.leave, context=self._context)

    # The session's side

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        self._output.append(bytes(data))
        self._size += len(data)
        self._was_written.set()
        if self._size > self._high and not self._is_full and self._session is not None:
            self._is_full = True
            self._session.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._size

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _SIZE_HINT if high is None else high
        self._low = self._high // 4 if low is None else low

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            self._call_soon(self._pass_on)

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        """Accept no further output; written output may still be read."""
        if not self._is_closing:
            self._is_closing = True
            self._was_written.set()
            self._was_taken.set()
            self._call_soon(self._lose)

    def abort(self) -> None:
        """Close, and drop unread bytes."""
        self._output.clear()
        self._size = 0
        self.close()

    # Callbacks of the loop, outside of any task: the first steps of handlers are separate tasks

    def _call_soon(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon(callback, context=self._context)

    def _pass_on(self) -> None:
        try:
            if self._session is None and not self._is_closing:
                self._engine = gateway_engine(self._parts)
                self._session = StreamSession(self._engine, loop=self._loop)
                self._session.connection_made(self)
            while self._input and not self._is_paused and not self._is_closing:
                self._fill()
        except BaseException:
            self.abort()
            raise
        finally:
            if self._is_closing or not self._input:
                self._was_taken.set()

    def _fill(self) -> None:
        """Fill the session's buffer once."""
        assert self._session is not None
        with memoryview(self._session.get_buffer(_SIZE_HINT)) as place:
            first = self._input.popleft()
            size = min(place.nbytes, len(first))
            place[:size] = first[:size]
        if size < len(first):
            self._input.appendleft(first[size:])
        self._session.buffer_updated(size)

    def _resume_writer(self) -> None:
        if self._is_full and self._size <= self._low and self._session is not None:
            self._is_full = False
            self._session.resume_writing()

    def _lose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.connection_lost(None)

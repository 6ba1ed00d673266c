"""One end of a memory connection: an asyncio transport that writes to the other end.

    write ──► peer's inbox ── one call_soon ──► get_buffer, buffer_updated ──► resume_writing here

To a session an end behaves like a TCP transport of asyncio or uvloop. Two cases that depend on timing with TCP are
defined here: bytes written before `close` or `write_eof` arrive; bytes that the peer has not read at `abort` do not
arrive.

Threads: only one thread writes a field, except the inbox and the flags marked "any thread". A thread that sets such a
    flag checks the guarded state afterwards, so at least one of two threads notices the other's change.
"""

import asyncio
import contextvars
import errno
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, TypeVar

__all__ = ["MemoryEnd"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)

#: The size hint for `get_buffer`, the same as uvloop's.
_SIZE_HINT = 65_536

#: The most bytes delivered to one session in one loop iteration, so that other sessions are not delayed.
_TURN_BYTES = 1_048_576

#: Bytes in flight above which the writer is asked to pause; asyncio's default.
_HIGH_WATER = 65_536


class _Mark(Enum):
    """Entries of an inbox that are not bytes."""

    END = "the peer writes no more"
    GONE = "the peer is closed"


_Item = bytes | memoryview | _Mark


class MemoryEnd(asyncio.Transport):
    """One end of a connection in memory."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: contextvars.Context, names: tuple[str, str]
    ) -> None:
        super().__init__({"sockname": names[0], "peername": names[1], "socket": None})
        self._loop: Final = loop
        # All callbacks run in this context, so that the reader does not see the writer's context variables.
        self._context: Final = context
        self._session: asyncio.BufferedProtocol | None = None
        # None once either end is closed, so that the two ends do not keep each other alive.
        self._peer: MemoryEnd | None = None

        # Receiving. The peer's thread appends to the inbox and sets the flags ("any thread").
        self._inbox: deque[_Item] = deque()
        self._is_due = False
        self._is_reset = False
        self._offset = 0  # bytes of the first item that are delivered
        self.taken = 0  # bytes delivered in all
        self._is_paused = False

        # Sending. The size of the write buffer is `_written` minus the bytes that the peer has taken.
        self._written = 0
        self._is_writing_paused = False
        self._has_ended = False
        self._is_refused = False  # bytes were written to a peer that is closed
        self._low, self._high = _HIGH_WATER // 4, _HIGH_WATER

        # The states: open, closing (`connection_lost` is scheduled), lost.
        self._is_closing = False
        self.is_lost = False

    @classmethod
    def pair(cls, near: "tuple[Any, ...]", far: "tuple[Any, ...]") -> "tuple[MemoryEnd, MemoryEnd]":
        """Make both ends of a connection; each argument holds the arguments of one `MemoryEnd`."""
        ends = cls(*near), cls(*far)
        ends[0].join(ends[1])
        ends[1].join(ends[0])
        return ends

    def join(self, peer: "MemoryEnd") -> None:
        """Set the end to which this end writes."""
        self._peer = peer

    def __repr__(self) -> str:
        state = "closed" if self.is_lost else "closing" if self._is_closing else "open"
        return f"<MemoryEnd {self._extra['sockname']} -> {self._extra['peername']} {state}>"  # type: ignore[attr-defined]

    def __del__(self) -> None:
        if self._session is not None and not self._is_closing:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)

    # --- life ---------------------------------------------------------------------------------

    def start(self, session_factory: Callable[[], S]) -> S:
        """Make the session and bind it. Called once, on the loop of this end."""
        try:
            return self._context.run(self._start, session_factory)
        except BaseException:
            self.abort()
            raise

    def _start(self, session_factory: Callable[[], S]) -> S:
        session = session_factory()
        self._session = session
        session.connection_made(self)
        if self._inbox or self._is_reset:
            self._schedule()
        return session

    def close(self) -> None:
        """Stop reading; written bytes still arrive."""
        if self._is_closing:
            return
        self._is_closing = True
        self._end()
        self._call_soon(self._lose, None)

    def abort(self) -> None:
        """Close and drop the bytes that the peer has not read; the peer sees a reset. After `write_eof`, close."""
        if self._has_ended:
            self.close()
        else:
            self._break(None)

    def is_closing(self) -> bool:
        return self._is_closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        if not isinstance(protocol, asyncio.BufferedProtocol) and not hasattr(protocol, "get_buffer"):
            raise TypeError(f"memory:// takes a buffered protocol, not {type(protocol).__name__}")
        self._session = protocol  # type: ignore[assignment]

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._session  # type: ignore[return-value]

    # --- reading ------------------------------------------------------------------------------

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if self._inbox and not self._is_closing:
                self._schedule()

    # --- writing ------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        chunk = _immutable(data)
        self._send((chunk,), len(chunk))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        chunks = [chunk for data in list_of_data if len(chunk := _immutable(data))]
        self._send(chunks, sum(map(len, chunks)))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._is_closing:
            self._end()

    def get_write_buffer_size(self) -> int:
        peer = self._peer
        return 0 if peer is None or self.is_lost else self._written - peer.taken

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high
        self._pause_writer()

    def _send(self, chunks: Sequence[bytes | memoryview], size: int) -> None:
        if self._is_closing or not size:
            return
        if self._has_ended:
            raise RuntimeError("Cannot call write() after write_eof()")
        peer = self._peer
        if peer is None or peer.is_lost:
            # As with TCP, except that a session that reads first gets the bytes that the peer wrote.
            self._is_refused = True
            if peer is None or self._is_paused:
                self._break(_reset_error())
            return
        self._written += size
        self._pass_on(peer, chunks)
        if self._written - peer.taken > self._high:
            self._pause_writer()

    def _end(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            if self._peer is not None:
                self._pass_on(self._peer, (_Mark.END,))

    def _pause_writer(self) -> None:
        if self._is_writing_paused or self._session is None or self.get_write_buffer_size() <= self._high:
            return
        self._is_writing_paused = True
        self._tell(self._session.pause_writing, "pause_writing")
        # The peer may have read in its thread before it could notice that this end waits.
        if self.get_write_buffer_size() <= self._low:
            self._call_soon(self._resume_writer)

    def _resume_writer(self) -> None:
        if self._is_writing_paused and not self.is_lost and self.get_write_buffer_size() <= self._low:
            self._is_writing_paused = False
            if self._session is not None:
                self._tell(self._session.resume_writing, "resume_writing")

    def note_read(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Resume writing if the peer has read enough. Called in the thread of the peer's loop.

        Returns:
            False if a callback had to be scheduled but the loop of this end is closed, else True.
        """
        if not self._is_writing_paused or self.get_write_buffer_size() > self._low:
            return True
        return self._call_from(loop, self._resume_writer)

    # --- delivery -----------------------------------------------------------------------------

    def receive(self, items: Iterable[_Item], loop: asyncio.AbstractEventLoop) -> bool:
        """Append items of the peer to the inbox, in the peer's thread. Return whether they may still be read."""
        self._inbox.extend(items)
        if self._is_due:
            return True
        self._is_due = True
        return self._call_from(loop, self._deliver)

    def reset(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop unread bytes, because the peer has aborted. Called in the thread of the peer's loop."""
        self._is_reset = True
        self.receive((), loop)

    def _schedule(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._call_soon(self._deliver)

    def _deliver(self) -> None:
        """Pass the received items to the session. Runs at most once per loop iteration."""
        self._is_due = False
        if self._session is None or self._is_closing:
            return
        if self._is_reset:
            self._is_closing = True
            self._lose(_reset_error())
            return
        bound = self.taken + _TURN_BYTES
        while self._inbox and not self._is_paused and not self._is_closing:
            item = self._inbox[0]
            if isinstance(item, _Mark):
                self._inbox.popleft()
                self._obey(item)
            elif self.taken < bound:
                self._fill()
            else:
                self._schedule()
                break
        if self._peer is not None and not self._peer.note_read(self._loop):
            self._note_closed_loop()

    def _fill(self) -> None:
        """Fill the session's buffer once, from as many chunks as it holds."""
        session = self._session
        assert session is not None
        name = "get_buffer"
        try:
            with memoryview(session.get_buffer(_SIZE_HINT)) as place:
                if not place.nbytes:
                    raise RuntimeError("get_buffer() returned an empty buffer")
                with place.cast("B") as room:
                    size = self._copy_into(room)
            name = "buffer_updated"
            session.buffer_updated(size)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail(error, name)

    def _copy_into(self, room: memoryview) -> int:
        inbox, offset, filled, space = self._inbox, self._offset, 0, len(room)
        while filled < space and inbox:
            chunk = inbox[0]
            if isinstance(chunk, _Mark):
                break
            size = len(chunk) - offset
            if size <= space - filled:
                room[filled : filled + size] = memoryview(chunk)[offset:] if offset else chunk
                inbox.popleft()
                offset = 0
            else:
                size = space - filled
                room[filled:] = memoryview(chunk)[offset : offset + size]
                offset += size
            filled += size
        self._offset = offset
        self.taken += filled
        return filled

    def _obey(self, mark: _Mark) -> None:
        session = self._session
        assert session is not None
        if mark is _Mark.GONE:
            # As with TCP, writing to a closed peer fails, and an end that does not write may stay half open.
            if self._is_refused or self.get_write_buffer_size():
                self._break(_reset_error())
            self._peer = None
            return
        try:
            keep_open = session.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._fail(error, "eof_received")
            return
        if not keep_open:
            self.close()

    # --- ends and errors ----------------------------------------------------------------------

    def _break(self, error: Exception | None) -> None:
        """Close immediately; the peer sees a reset."""
        if self._is_closing:
            return
        self._is_closing = True
        self._has_ended = True
        peer = self._peer
        if peer is not None:
            peer.reset(self._loop)
        self._call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if self.is_lost:
            return
        self.is_lost = True
        self._inbox.clear()
        peer, self._peer = self._peer, None
        session, self._session = self._session, None
        if peer is not None and not peer.is_lost:
            self._pass_on(peer, (_Mark.GONE,))
        if session is not None:
            session.connection_lost(error)

    def _fail(self, error: BaseException, name: str) -> None:
        self._report(error, f"Fatal error: protocol.{name}() call failed.")
        self._break(error if isinstance(error, Exception) else None)

    def _tell(self, callback: Callable[[], None], name: str) -> None:
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report(error, f"protocol.{name}() failed")

    def _report(self, error: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": error, "transport": self, "protocol": self._session}
        )

    def _call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon(callback, *arguments, context=self._context)

    def _call_from(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> bool:
        """Schedule a callback of this end from the thread of another loop; return False if its own loop is closed."""
        if self._loop is loop:
            self._call_soon(callback)
            return True
        try:
            self._loop.call_soon_threadsafe(callback, context=self._context)
        except RuntimeError:
            # This end never reads again.
            self.is_lost = True
            return False
        return True

    def _pass_on(self, peer: "MemoryEnd", items: Iterable[_Item]) -> None:
        if not peer.receive(items, self._loop):
            self._note_closed_loop()

    def _note_closed_loop(self) -> None:
        """Close immediately, because the loop of the peer is closed."""
        if not self._is_closing:
            self._break(_reset_error())


def _immutable(data: bytes | bytearray | memoryview) -> bytes | memoryview:
    """Return immutable bytes, copied only from a mutable buffer."""
    if type(data) is bytes:
        return data
    with memoryview(data) as view:
        if type(view.obj) is bytes and view.nbytes and view.c_contiguous:
            return view.obj if view.nbytes == len(view.obj) else view.cast("B")
        return bytes(view)


def _reset_error() -> ConnectionResetError:
    return ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))

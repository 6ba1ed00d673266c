"""Read pieces of a file while the previous pieces are sent.

A job reads several pieces while the loop takes them. So the thread wakes the loop for each piece, but the loop does not
have to wake a thread for each. A job ends after some pieces, since other jobs wait for the same threads: a job that
reads a whole file from a slow disk would occupy a thread for too long.

Each piece counts towards the memory of the process: first as a piece of its handler, from before it is read; then as
output, once it is sent. One piece is read ahead after the caller has taken the first, if there is enough memory. While
memory is full, a download that has started waits and holds no piece.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Protocol

from fastrpc.files.lane import wake
from fastrpc.files.reader import PIECE_BYTES

__all__ = ["Pieces", "ReadAhead"]

#: Most pieces that are read ahead if pieces are not counted. More pieces would be sent together, and delay small calls
#: of the same connection.
PIECES_AHEAD = 2

#: PIECES_AT_ONCE: the most pieces that one job reads. After TURN_SECONDS it starts no further piece, so that other jobs
#: get a turn.
PIECES_AT_ONCE = 8
TURN_SECONDS = 0.02


#: Bytes of a piece that may be sent, and so count as output, while its other bytes wait for credit. The whole piece
#: stays in memory until then.
SENT_BYTES = 64 * 1024

#: The interval in seconds at which a download checks for memory while memory is full.
NO_ROOM_SECONDS = 0.05


class Pieces(Protocol):
    """The interface of `HeldPieces` of the core, which counts the pieces of a handler."""

    def hold(self, size: int) -> None:
        """Set the number of counted bytes to `size`."""

    def may_hold(self, size: int) -> bool:
        """Return whether the process has memory for `size` bytes."""

    @property
    def may_read_ahead(self) -> bool:
        """Return whether a piece may be read while the previous piece is sent."""


class ReadAhead:
    """Passes the pieces that jobs read to a task of an event loop.

    Args:
        read: returns the next piece, or empty bytes at the end.
        start: starts a job; it runs after earlier jobs.
        pieces: the counter of pieces, which has counted the first piece already; None: pieces are not counted.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        start: Callable[[Callable[[], None]], Future[None]],
        pieces: Pieces | None = None,
    ) -> None:
        self._read = read
        self._start = start
        self._counted = pieces
        self._loop = asyncio.get_running_loop()
        # The job appends pieces, the loop removes them.
        self._pieces: deque[bytes] = deque()
        # Numbers of pieces: `_taken` by the loop; `_most` that may be read so far; `_done`, which were read.
        self._taken = 0
        self._most = PIECES_AHEAD if pieces is None else 1
        self._done = 0
        # The future of a waiting task. Only the loop sets it; a job with a new piece wakes it on the loop.
        self._waiting: asyncio.Future[None] | None = None
        self._reading = self._start_reading()

    async def take(self) -> bytes:
        """Return the next piece, or empty bytes at the end. It must not be called again after the end."""
        await self.has_more()
        return self.pop()

    async def has_more(self) -> bool:
        """Wait until `pop` has a piece, and memory for it; return False at the end."""
        if self._counted is not None and self._most == self._taken:
            while not self._counted.may_hold(PIECE_BYTES):  # noqa: ASYNC110
                # Poll, since memory is freed in many ways and no event reports it. If memory stays full, the largest
                # holder is closed in the end.
                await asyncio.sleep(NO_ROOM_SECONDS)
            self._counted.hold(PIECE_BYTES)
            self._most += 1
        while not self._pieces:
            await self._wait()
        return bool(self._pieces[0])

    def pop(self) -> bytes:
        """Return the next piece, and allow the job to read one more."""
        piece = self._pieces.popleft()
        self._taken += 1
        if self._counted is None:
            self._most = self._taken + PIECES_AHEAD
        elif piece:
            is_ahead = self._counted.may_read_ahead
            self._counted.hold(SENT_BYTES + PIECE_BYTES * is_ahead)
            self._most = self._taken + is_ahead
        if piece and not self._pieces and self._may_start():
            self._reading = self._start_reading()
        return piece

    def _may_start(self) -> bool:
        """Return whether a job has to be started, and the previous job succeeded."""
        return self._done < self._most and self._reading.done() and self._reading.exception() is None

    def _start_reading(self) -> Future[None]:
        reading = self._start(self._fill)
        # Wake the waiter at the end of the job, too, since the read may have failed.
        reading.add_done_callback(self._wake)
        return reading

    async def _wait(self) -> None:
        """Wait until there may be a piece."""
        if self._reading.done():
            self._reading.result()
            if not self._pieces:
                self._reading = self._start_reading()
        self._waiting = self._loop.create_future()
        try:
            # Check again: a piece may have arrived before the future was set.
            if not self._pieces and not self._reading.done():
                await self._waiting
        finally:
            self._waiting = None

    def _fill(self) -> None:
        """Read pieces until enough are ahead or other jobs must get a turn. This is the job."""
        ends = time.monotonic() + TURN_SECONDS
        for left in reversed(range(PIECES_AT_ONCE)):
            piece = self._read()
            self._done += 1
            self._pieces.append(piece)
            if not (piece and left) or self._done >= self._most or time.monotonic() >= ends:
                return
            self._wake()

    def _wake(self, _: object = None) -> None:
        """Wake the waiting task. Called in the thread of the job."""
        if (waiting := self._waiting) is not None:
            wake(self._loop, waiting)

"""Pieces of a file that are read while the previous ones are sent.

A job reads while the loop takes its pieces, so the thread wakes the loop for each piece, and the loop need not wake a
thread. The job ends after some pieces, as other jobs wait for the same threads: a job that reads a whole file from a
slow disk would occupy a thread until its end.

A handler counts each piece before it is read; a sent piece counts as output instead. One piece is read ahead once the
caller has taken one, as long as there is enough memory. A download that has begun waits while memory is full, and holds
no piece meanwhile.
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

#: Pieces that are read before one is taken, if pieces are not counted. More pieces would be sent at once, and delay
#: small calls of the same connection.
PIECES_AHEAD = 2

#: Pieces that a job reads, and the seconds after which it begins no further piece, so that other jobs have a turn.
PIECES_AT_ONCE = 8
TURN_SECONDS = 0.02


#: Bytes of a piece that are counted as output because they may be sent while the other bytes wait for credit: all of it
#: is in memory.
SENT_BYTES = 64 * 1024

#: The interval at which a download checks for memory while the process is full.
NO_ROOM_SECONDS = 0.05


class Pieces(Protocol):
    """Counts the pieces of a handler: `HeldPieces` of the core."""

    def hold(self, size: int) -> None:
        """Count `size` bytes from now on."""

    def may_hold(self, size: int) -> bool:
        """Return whether the process has room for `size` bytes."""

    @property
    def may_read_ahead(self) -> bool:
        """Whether a piece may be read while the one before it is sent."""


class ReadAhead:
    """Takes, in an event loop, the pieces that jobs read.

    Args:
        read: returns the next piece, or empty bytes at the end.
        start: starts a job, after earlier jobs that wait for a thread.
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
        # The job appends, the loop takes.
        self._pieces: deque[bytes] = deque()
        # The number of pieces that the loop took, that it allows to be read in total, and that the job has read.
        self._taken = 0
        self._most = PIECES_AHEAD if pieces is None else 1
        self._done = 0
        # Set and forgotten by the loop; a job with a new piece wakes the waiter there.
        self._waiting: asyncio.Future[None] | None = None
        self._reading = self._start_reading()

    async def take(self) -> bytes:
        """Return the next piece, or empty bytes at the end; do not call this again after the end."""
        await self.has_more()
        return self.pop()

    async def has_more(self) -> bool:
        """Return whether a piece follows, which `pop` takes. There is room for it."""
        if self._counted is not None and self._most == self._taken:
            while not self._counted.may_hold(PIECE_BYTES):  # noqa: ASYNC110
                # No event reports that there is room, as memory is freed in many ways. In the end the largest holder is
                # closed.
                await asyncio.sleep(NO_ROOM_SECONDS)
            self._counted.hold(PIECE_BYTES)
            self._most += 1
        while not self._pieces:
            await self._wait()
        return bool(self._pieces[0])

    def pop(self) -> bytes:
        """Take the next piece, and let one more be read ahead."""
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
        """Return whether a job has work to do, and the previous job succeeded."""
        return self._done < self._most and self._reading.done() and self._reading.exception() is None

    def _start_reading(self) -> Future[None]:
        reading = self._start(self._fill)
        # The read may have failed.
        reading.add_done_callback(self._wake)
        return reading

    async def _wait(self) -> None:
        """Return once there may be a piece."""
        if self._reading.done():
            self._reading.result()
            if not self._pieces:
                self._reading = self._start_reading()
        self._waiting = self._loop.create_future()
        try:
            # A piece may have arrived just before.
            if not self._pieces and not self._reading.done():
                await self._waiting
        finally:
            self._waiting = None

    def _fill(self) -> None:
        """Read until enough is ahead, or until it is the turn of other jobs; in a job, whose end wakes the waiter."""
        ends = time.monotonic() + TURN_SECONDS
        for left in reversed(range(PIECES_AT_ONCE)):
            piece = self._read()
            self._done += 1
            self._pieces.append(piece)
            if not (piece and left) or self._done >= self._most or time.monotonic() >= ends:
                return
            self._wake()

    def _wake(self, _: object = None) -> None:
        """Let the waiter look again; called in the thread of the job."""
        if (waiting := self._waiting) is not None:
            wake(self._loop, waiting)

"""Pieces of a file that are read while those before them are sent.

A job reads on while its pieces are taken, so that a thread wakes the loop for each of them, and not the loop a thread.
It ends after some of them all the same: others wait for the same threads, and a job that reads a whole file from a slow
disk would keep them out until its end.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from fastrpc.files.lane import wake

__all__ = ["ReadAhead"]

#: Pieces that are read before one is taken. More would leave at once, and hold up small calls of the same connection.
PIECES_AHEAD = 2

#: Pieces that a job reads, and the seconds after which it begins none: then it is the turn of others.
PIECES_AT_ONCE = 8
TURN_SECONDS = 0.02


class ReadAhead:
    """Takes pieces in an event loop that are read in jobs.

    Args:
        read: returns the next piece, none at the end.
        start: starts a job, behind those of others that wait for a thread.
    """

    def __init__(
        self, read: Callable[[], bytes], start: Callable[[Callable[[], None]], Future[None]]
    ) -> None:
        self._read = read
        self._start = start
        self._loop = asyncio.get_running_loop()
        # The job appends, the loop takes.
        self._pieces: deque[bytes] = deque()
        # Set and forgotten by the loop; a job that has something new wakes whoever waits there.
        self._waiting: asyncio.Future[None] | None = None
        self._reading = self._start_reading()

    async def take(self) -> bytes:
        """Return the next piece; none at the end, behind which nothing is taken."""
        while not self._pieces:
            await self._wait()
        piece = self._pieces.popleft()
        if piece and not self._pieces and self._reading.done() and self._reading.exception() is None:
            self._reading = self._start_reading()
        return piece

    def _start_reading(self) -> Future[None]:
        reading = self._start(self._fill)
        # It may have failed.
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
            # One may have come just before.
            if not self._pieces and not self._reading.done():
                await self._waiting
        finally:
            self._waiting = None

    def _fill(self) -> None:
        """Read until enough is ahead or it is the turn of others; in a job, whose end wakes whoever waits."""
        ends = time.monotonic() + TURN_SECONDS
        for left in reversed(range(PIECES_AT_ONCE)):
            piece = self._read()
            self._pieces.append(piece)
            if not (piece and left) or len(self._pieces) >= PIECES_AHEAD or time.monotonic() >= ends:
                return
            self._wake()

    def _wake(self, _: object = None) -> None:
        """Let whoever waits look again; in the thread of the job."""
        if (waiting := self._waiting) is not None:
            wake(self._loop, waiting)

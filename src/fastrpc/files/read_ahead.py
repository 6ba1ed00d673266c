"""Pieces of a file that are read while those before them are sent.

A job reads on as long as its pieces are taken. Where the disk or the hash is the slower side, one job reads them all,
and each piece wakes the loop once; a job for each piece would wake its thread as often.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

from fastrpc.files.lane import wake

__all__ = ["ReadAhead"]

#: Pieces that are read before one is taken. More would leave at once, and hold up small calls of the same connection.
PIECES_AHEAD = 2


class ReadAhead:
    """Takes pieces in an event loop that are read in jobs.

    Args:
        read: returns the next piece, none at the end.
        start: starts a job, which runs to its end.
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
        """Read until enough is ahead; in a job."""
        while True:
            piece = self._read()
            self._pieces.append(piece)
            if not piece or len(self._pieces) >= PIECES_AHEAD:
                return
            self._wake()

    def _wake(self, _: object = None) -> None:
        """Let whoever waits look again; in the thread of the job."""
        if (waiting := self._waiting) is not None:
            wake(self._loop, waiting)

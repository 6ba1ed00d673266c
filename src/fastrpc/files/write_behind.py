"""Write pieces to the disk while further pieces are received from the network.

A job writes until no piece waits, so one job writes many pieces. Only the network side appends and counts appended
pieces; only the job removes and counts removed pieces.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future

__all__ = ["Piece", "WriteBehind"]

#: A piece to write: bytes, or a view of a received payload.
Piece = bytes | memoryview

#: The most bytes (HELD_BYTES) and the most pieces (HELD_PIECES) that wait for the disk. More bytes would not fit into
#: the processor's cache.
HELD_BYTES = 512 * 1024
HELD_PIECES = 4_096

#: Bytes that are written together, in whole pieces.
BLOCK_BYTES = 256 * 1024


class WriteBehind:
    """Writes pieces in the order of their arrival.

    Args:
        write: writes pieces; it runs in jobs, one at a time.
        start: starts a job.
        wait: returns once a job is done.
    """

    def __init__(
        self,
        write: Callable[[list[Piece]], None],
        start: Callable[[Callable[[], None]], Future[None]],
        wait: Callable[[Future[None]], Awaitable[None]],
    ) -> None:
        self._write = write
        self._start = start
        self._wait = wait
        self._writing: Future[None] | None = None
        self._pieces: deque[Piece] = deque()
        self._put = 0
        self._taken = 0

    async def put(self, pieces: Sequence[Piece]) -> None:
        """Append pieces; return once there is room for more."""
        self._pieces += pieces
        self._put += sum(map(len, pieces))
        if self._writing is not None:
            is_crowded = self._put - self._taken >= HELD_BYTES or len(self._pieces) >= HELD_PIECES
            if not is_crowded and not self._writing.done():
                return
            await self._wait(self._writing)
        self._writing = self._start(self._drain) if self._pieces else None

    async def flush(self) -> None:
        """Return once all pieces are written."""
        while self._writing is not None:
            await self._wait(self._writing)
            # Start another job for pieces that arrived just after the last job had ended.
            self._writing = self._start(self._drain) if self._pieces else None

    def _drain(self) -> None:
        """Write until no piece waits. This is the job."""
        while self._pieces:
            block: list[Piece] = []
            size = 0
            while self._pieces and size < BLOCK_BYTES:
                block.append(self._pieces.popleft())
                size += len(block[-1])
            self._write(block)
            self._taken += size

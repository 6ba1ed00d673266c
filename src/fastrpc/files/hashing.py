"""SHA-256 of files: computed a slice at a time, and remembered as long as the file stays the same."""

import hashlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastrpc.files.information import FileDigest

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["Digests", "FileHash"]

#: Bytes that are read and hashed in one step, which takes some milliseconds.
SLICE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 256 * 1024

#: The number of files whose digests are remembered.
MOST_DIGESTS = 256

#: Seconds in which a file may change again without getting another time. Linux updates the time every 10 ms at most;
#: other systems count whole seconds, or two.
FINE_TICK_SECONDS = 0.1
COARSE_TICK_SECONDS = 2.0


class FileHash:
    """The SHA-256 of the first bytes of an open file."""

    def __init__(self, descriptor: int) -> None:
        self._hash = hashlib.sha256(usedforsecurity=False)
        self.position = 0
        self._descriptor = descriptor

    def advance(self, limit: int) -> bool:
        """Hash the next slice below `limit`; return whether there may be more. This call blocks.

        If the position is below the limit afterwards, the file ended early.
        """
        end = min(limit, self.position + SLICE_BYTES)
        while self.position < end:
            block = os.pread(self._descriptor, min(BLOCK_BYTES, end - self.position), self.position)
            if not block:
                return False
            self._hash.update(block)
            self.position += len(block)
        return self.position < limit

    def continue_with(self, known: "Hash", position: int) -> None:
        """Continue from the SHA-256 of the first bytes."""
        self._hash, self.position = known, position

    def continue_by(self, block: bytes | memoryview) -> None:
        """Hash bytes that were just written after the others."""
        self._hash.update(block)
        self.position += len(block)

    @property
    def digest(self) -> FileDigest:
        """The SHA-256 of the bytes hashed so far."""
        return FileDigest(self.position, self._hash.hexdigest())

    def copy(self) -> "Hash":
        """Return a copy of the SHA-256 so far, which can continue hashing."""
        return self._hash.copy()


class Digests:
    """The digests of the files last hashed; any thread may use it."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], Hash] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, status: os.stat_result) -> "Hash | None":
        """Return the SHA-256 of a file, which can be read or continued; None if it is unknown."""
        with self._lock:
            known = self._known.get(_key(status))
            if known is None:
                return None
            self._known.move_to_end(_key(status))
            return known.copy()

    def keep(self, status: os.stat_result, since: float, hashing: FileHash) -> None:
        """Remember the SHA-256 of a whole file that had this status both before and after it was hashed.

        If the file was changed just before `since`, the start of hashing, no digest is kept: the file may have changed
        again within the same tick.
        """
        is_coarse = status.st_ctime_ns % 1_000_000_000 == 0
        if since - status.st_ctime < (COARSE_TICK_SECONDS if is_coarse else FINE_TICK_SECONDS):
            return
        with self._lock:
            self._known[_key(status)] = hashing.copy()
            while len(self._known) > MOST_DIGESTS:
                self._known.popitem(last=False)


def _key(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

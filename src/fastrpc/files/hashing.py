"""SHA-256 of files, computed slice by slice, and cached as long as the file does not change."""

import hashlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from fastrpc.files.information import FileDigest

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

__all__ = ["Digests", "FileHash"]

#: Bytes that one step reads and hashes, in some milliseconds.
SLICE_BYTES = 8 * 1024 * 1024
BLOCK_BYTES = 256 * 1024

#: Most files whose digests are cached.
MOST_DIGESTS = 256

#: Seconds within which a file may change again without a change of its time. FINE_TICK_SECONDS: on Linux the time of
#: files has a resolution of 10 ms or better. COARSE_TICK_SECONDS: for a time in whole seconds, as on systems with a
#: resolution of a second or two.
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
        """Hash bytes that were just appended to the file."""
        self._hash.update(block)
        self.position += len(block)

    @property
    def digest(self) -> FileDigest:
        """The SHA-256 of the bytes hashed so far."""
        return FileDigest(self.position, self._hash.hexdigest())

    def copy(self) -> "Hash":
        """Return a copy of the SHA-256 state, which can be updated further."""
        return self._hash.copy()


class Digests:
    """A cache of the digests of recently hashed files. Any thread may use it."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, ...], Hash] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, status: os.stat_result) -> "Hash | None":
        """Return the SHA-256 state of a file, or None if it is unknown."""
        with self._lock:
            known = self._known.get(_key(status))
            if known is None:
                return None
            self._known.move_to_end(_key(status))
            return known.copy()

    def keep(self, status: os.stat_result, since: float, hashing: FileHash) -> None:
        """Cache the SHA-256 of a whole file that had this status both before and after it was hashed.

        Nothing is cached if the file was changed just before `since`, the start of hashing: it may have changed again
        with the same time.
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

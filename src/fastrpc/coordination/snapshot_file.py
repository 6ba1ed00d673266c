"""A file that keeps one value across a power loss."""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO, TypeVar

from fastrpc.errors import StoreError
from fastrpc.replaced_file import replaced_file

__all__ = ["SnapshotFile"]

logger = logging.getLogger("fastrpc.registry")

T = TypeVar("T")


class SnapshotFile:
    """Keeps one value across restarts, and across a power loss once `write` has returned.

    Raises:
        OSError: the folder cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_failing = False
        # A lock, as a write may continue in its thread after its caller was cancelled.
        self._writing = threading.Lock()
        self._number = -1
        self._claim: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def claim(self) -> None:
        """Lock the folder against other programs until `release`, or until this program ends.

        Raises:
            StoreError: another program holds the lock.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            return
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise StoreError(
                f"another registry keeps its snapshot in {self._path.parent}",
                hint="end it, or give each registry a separate folder",
            ) from None
        except OSError as error:
            # Continue without a lock: some network file systems have none.
            os.close(descriptor)
            logger.warning("cannot lock %s: %s", self._path.parent, error)
            return
        self._claim = descriptor

    def release(self) -> None:
        """Unlock the folder."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def read(self, take: Callable[[BinaryIO], T]) -> T | None:
        """Return the last written content, parsed by a function; None before the first write.

        Raises:
            OSError: the file exists and cannot be read.
        """
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return None
        with file:
            return take(file)

    def write(self, pieces: Iterable[bytes], number: int) -> bool:
        """Replace the content, unless the saved content has the same number or a higher one.

        Any thread may call it. Return whether this or newer content is saved. Of consecutive failures only the first is
        logged.
        """
        with self._writing:
            if number <= self._number:
                return True
            try:
                self._write(pieces)
            except OSError as error:
                if not self._is_failing:
                    text = "cannot write %s, a restart would lose what is in memory: %s"
                    logger.error(text, self._path, error)
                self._is_failing = True
                return False
            self._is_failing = False
            self._number = number
            return True

    def _write(self, pieces: Iterable[bytes]) -> None:
        # Unbuffered, so that other threads can run between two pieces.
        with replaced_file(self._path, buffering=0) as file:
            for piece in pieces:
                _write_all(file, piece)
            os.fsync(file.fileno())
        descriptor = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def set_aside(self) -> Path:
        """Rename an unreadable file so that it can be inspected; return its new name."""
        kept = self._path.with_name(f"{self._path.name}.unreadable")
        os.replace(self._path, kept)
        return kept


def _write_all(file: BinaryIO, piece: bytes) -> None:
    """Write a whole piece; the system may accept only a part at a time."""
    left = memoryview(piece)
    while left:
        left = left[file.write(left) :]

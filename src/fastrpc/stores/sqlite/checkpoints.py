"""Checkpoints: the pages of a write-ahead log are moved into the file, most of them beside commits.

::

    commits ──► log ──16 MiB──► a pass, in a thread ──► the rest, between two commits ──► a new log

A checkpoint writes and syncs as many bytes as the log has. Between two commits it would delay all waiting changes by
10 ms or more, at each 4 MiB of it. A second connection moves and syncs the pages while commits go on, and the pages of
these commits are the rest. SQLite begins a new log with the first commit after a checkpoint that left no page behind.

No commit may begin a new log during a pass: before version 3.51.3 SQLite may then lose pages of the log, as it
counts them as moved ("WAL-reset bug", sqlite.org/wal.html). A third connection reads during the pass, and SQLite begins
no new log while a transaction reads the present one. This holds unless another program does a checkpoint at the same
time, such as a shell of SQLite in the folder of a running server.

SQLite can do a checkpoint by itself, but reports no error of it. After a failed sync it would sync again, which
succeeds on most systems although pages are lost, and then overwrite the log. Here an error of a pass, or of the rest,
is kept: no commit and no checkpoint follows, and the folder leaves the log as it is.
"""

import contextlib
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["Checkpoints", "is_full"]

#: Bytes of the log after which its pages are moved into the file. A pass takes some 3 ms of a processor besides the
#: moves: with 4 MiB that is a tenth of the time of a broker at full rate.
_LOG_BYTES: Final = 16 * 1024 * 1024


class Checkpoints:
    """The checkpoints of one file. One thread calls it, between two commits.

    Args:
        connection: writes the commits.
        path: the file.
        synchronous: the value of SQLite's `synchronous` of that connection.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
        self._connection = connection
        self._path = path
        self._synchronous = synchronous
        # For syncs. Its end would end all locks of this process on the file, so it is closed behind the connection.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Bytes of the log that are not in the file yet, as far as is known.
        self._logged = 0
        # Runs the pass; None: no pass since the latest checkpoint.
        self._thread: threading.Thread | None = None
        # Set by that thread: whether the pass has ended.
        self._has_passed = False
        # The error of a checkpoint, but for a full disk; set by both threads.
        self._error: sqlite3.Error | None = None

    def check(self) -> None:
        """Raise the error of a checkpoint: no commit may follow."""
        if self._error is not None:
            raise self._error

    def committed(self, size: int, owner: object) -> None:
        """Count the bytes of a commit; begin a pass, or move the rest that it left.

        Args:
            owner: is no garbage during a pass: the collector may run in the pass, and would close the connections of
                the pass behind their locks.

        Raises:
            sqlite3.Error: pages may be lost; no commit may follow.
        """
        self._logged += size
        if self._thread is None:
            if self._logged >= _LOG_BYTES:
                self._begin(owner)
        elif self._has_passed:
            self._thread.join()
            self._thread, self._has_passed = None, False
            self.check()
            self._move_rest()

    def finish(self) -> bool:
        """Move all pages: what SQLite does as the connection closes has no effect, and it reports no error of it.

        Return whether all are moved: False while another program reads.

        Raises:
            sqlite3.Error: they cannot be moved, now or ever.
        """
        # After a pass the collector may run this in any thread, with any lock: the end of the thread needs a lock of
        # `threading`. The thread itself may run it, as its last step.
        if self._thread is not None and not self._has_passed:
            self._thread.join()
        self.check()
        ((is_busy, pages, moved),) = self._moved()
        return not is_busy and pages == moved

    def close(self) -> None:
        """Release the file, after its connection is closed."""
        os.close(self._file)

    def _begin(self, owner: object) -> None:
        """Begin a pass. Without a thread all pages are the rest."""
        name = f"checkpoint of {self._path.name}"
        thread = threading.Thread(target=self._pass, args=(owner,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._move_rest()
        else:
            self._thread = thread

    def _pass(self, _owner: object) -> None:
        """Move pages beside commits; in a thread. If it cannot open the file, all pages are the rest."""
        # Both close before the connection of the commits: as the last one closes SQLite moves the whole log.
        try:
            with contextlib.suppress(sqlite3.Error), closing(self._another()) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
                with closing(self._another()) as mover:
                    mover.execute(f"PRAGMA synchronous = {self._synchronous}")
                    self._move_with(mover)
        finally:
            self._has_passed = True

    def _move_with(self, mover: sqlite3.Connection) -> None:
        try:
            mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            # SQLite leaves this sync to the next checkpoint if there were commits meanwhile.
            os.fsync(self._file)
        except sqlite3.Error as error:
            if not is_full(error):
                self._error = error
        except OSError as error:
            self._error = sqlite3.OperationalError(f"disk I/O error: {error}")

    def _another(self) -> sqlite3.Connection:
        # A file that was moved away is not made anew.
        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)

    def _move_rest(self) -> None:
        try:
            self._moved()
        except sqlite3.Error as error:
            if not is_full(error):
                self._error = error
                raise
        else:
            self._logged = 0

    def _moved(self) -> list[tuple[int, int, int]]:
        """Move the pages of the log; return SQLite's row: whether it was busy, all pages, the moved pages."""
        return self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def is_full(error: BaseException) -> bool:
    """Return whether an error of SQLite is due to a full disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL

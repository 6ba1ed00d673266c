"""Checkpoints: move the pages of a write-ahead log into the file, most of them concurrently with commits.

::

    commits ──► log ──16 MiB──► a pass, in a thread ──► the rest, between two commits ──► a new log

A checkpoint writes and syncs as many bytes as the log has. Between two commits it would delay all waiting changes, by
10 ms or more for each 4 MiB of the log. So a second connection moves and syncs pages while commits go on (a pass). The
pages of commits during the pass remain (the rest), and are moved between two commits. After a checkpoint that has moved
all pages, SQLite starts a new log with the next commit.

No commit may start a new log during a pass: before version 3.51.3 SQLite may then lose pages of the log, as it counts
them as moved ("WAL-reset bug", sqlite.org/wal.html). So a third connection holds a read transaction during the pass,
and SQLite starts no new log while a transaction reads the present log. This does not help if another program makes a
checkpoint at the same time, such as a SQLite shell in the folder of a running server.

SQLite's automatic checkpoints do not report errors. After a failed sync SQLite would sync again, which succeeds on most
systems although pages are lost, and then overwrite the log. Here an error of a pass or of the rest is remembered: no
commit and no checkpoint follows, and the folder does not touch the log.
"""

import contextlib
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["Checkpoints", "is_full"]

#: Bytes of the log after which its pages are moved into the file. A pass takes some 3 ms of CPU time besides the moves.
#: With 4 MiB this would be a tenth of the time of a broker at full rate.
_LOG_BYTES: Final = 16 * 1024 * 1024


class Checkpoints:
    """The checkpoints of one file. One thread calls its methods, between two commits.

    Args:
        connection: the connection that writes the commits.
        path: the path of the file.
        synchronous: the value of `PRAGMA synchronous` for that connection.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, synchronous: str) -> None:
        self._connection = connection
        self._path = path
        self._synchronous = synchronous
        # A descriptor for syncs. Closing it releases all POSIX locks of this process on the file, so the connection
        # must be closed before.
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Known bytes of the log that are not in the file yet.
        self._logged = 0
        # The thread of the pass; None if there was no pass since the latest checkpoint.
        self._thread: threading.Thread | None = None
        # Set by the thread at the end of the pass.
        self._has_passed = False
        # The error of a checkpoint, except a full disk. Both threads set it.
        self._error: sqlite3.Error | None = None

    def check(self) -> None:
        """Raise the error of an earlier checkpoint, if any: no commit may follow it."""
        if self._error is not None:
            raise self._error

    def committed(self, size: int, owner: object) -> None:
        """Count the bytes of a commit. Start a pass if it is due; after a pass, move the rest.

        Args:
            owner: an object that the pass keeps alive. Otherwise the garbage collector might run its finalizer in the
                thread of the pass and close the connections.

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
        """Move all pages, because SQLite's own checkpoint at the close of the connection reports no errors.

        Return whether all pages were moved: False if another program reads.

        Raises:
            sqlite3.Error: the pages cannot be moved, now or later.
        """
        # Join the thread only during a pass. After it, the garbage collector may run this in any thread that holds any
        # lock, and joining needs a lock of `threading`. Even the thread of the pass may run it, as its last step.
        if self._thread is not None and not self._has_passed:
            self._thread.join()
        self.check()
        ((is_busy, pages, moved),) = self._moved()
        return not is_busy and pages == moved

    def close(self) -> None:
        """Close the descriptor. The connection has to be closed before."""
        os.close(self._file)

    def _begin(self, owner: object) -> None:
        """Start a pass. If no thread can be started, all pages are the rest."""
        name = f"checkpoint of {self._path.name}"
        thread = threading.Thread(target=self._pass, args=(owner,), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._move_rest()
        else:
            self._thread = thread

    def _pass(self, _owner: object) -> None:
        """Move pages concurrently with commits, in a thread. If it cannot open the file, all pages are the rest."""
        # Both connections must be closed before the connection of the commits, since SQLite moves the whole log when
        # the last connection closes.
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
            # If there were commits during the pass, SQLite would leave this sync to the next checkpoint.
            os.fsync(self._file)
        except sqlite3.Error as error:
            if not is_full(error):
                self._error = error
        except OSError as error:
            self._error = sqlite3.OperationalError(f"disk I/O error: {error}")

    def _another(self) -> sqlite3.Connection:
        # Mode "rw" does not create the file if it was moved away.
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
        """Move the pages of the log; return SQLite's row: busy flag, number of pages, number of moved pages."""
        return self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def is_full(error: BaseException) -> bool:
    """Return whether a full disk is the cause of a SQLite error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL

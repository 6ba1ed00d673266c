"""Checkpoints: the pages of a write-ahead log are moved into the file, most of them beside commits.

::

    commits ──► log ──4 MiB──► a pass, in a thread ──► the rest, between two commits ──► a new log

A checkpoint writes and syncs as many bytes as the log has. Between two commits it would delay all waiting changes by
10 ms or more, at each 4 MiB. A second connection moves the pages while commits go on, and the pages of these commits
are the rest. SQLite begins a new log with the first commit after a checkpoint that left no page behind.

No commit may begin a new log during a pass: before version 3.51.3 SQLite may then lose pages of the log, as it
counts them as moved ("WAL-reset bug", sqlite.org/wal.html). A third connection reads during the pass, and SQLite begins
no new log while a transaction reads the present one.

SQLite can do a checkpoint by itself, but reports no error of it. After a failed sync it would sync again, which
succeeds on most systems although pages are lost, and then overwrite the log. Here the error of a pass is raised before
the next commit, and no commit follows.
"""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Final

__all__ = ["Checkpoints", "is_full"]

#: Bytes of the log after which its pages are moved into the file.
_LOG_BYTES: Final = 4 * 1024 * 1024

#: SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE.
_NO_CHECKPOINT_ON_CLOSE: Final = 1006


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
        # Bytes of the log that are not in the file yet, as far as is known.
        self._logged = 0
        # Runs the pass; None: no pass since the latest checkpoint.
        self._thread: threading.Thread | None = None
        # Set by that thread. Whether the pass has ended; its error, but for a full disk.
        self._has_passed = False
        self._error: sqlite3.Error | None = None

    def check(self) -> None:
        """Raise the error of a pass: no commit may follow."""
        if self._error is not None:
            self._leave_log()
            raise self._error

    def committed(self, size: int) -> None:
        """Count the bytes of a commit; begin a pass, or move the rest that it left.

        Raises:
            sqlite3.Error: pages may be lost; no commit may follow.
        """
        self._logged += size
        if self._thread is None:
            if self._logged >= _LOG_BYTES:
                self._begin()
        elif self._has_passed:
            self._thread.join()
            self._thread, self._has_passed = None, False
            self.check()
            self._move_rest()

    def finish(self) -> sqlite3.Error | None:
        """Move all pages, so that SQLite only removes the log as the connection closes, where it reports no error.

        Return the error that prevented it, or None.
        """
        if self._thread is not None:
            self._thread.join()
        try:
            self.check()
            self._moved()
        except sqlite3.Error as error:
            if not is_full(error):
                self._leave_log()
            return error
        return None

    def _begin(self) -> None:
        """Begin a pass. Without a thread all pages are the rest."""
        thread = threading.Thread(target=self._pass, name=f"checkpoint of {self._path.name}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            self._move_rest()
        else:
            self._thread = thread

    def _pass(self) -> None:
        """Move pages beside commits; in a thread."""
        try:
            # Both close before the connection of the commits: as the last one closes SQLite moves the whole log.
            with closing(self._another()) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master").fetchall()
                with closing(self._another()) as mover:
                    mover.execute(f"PRAGMA synchronous = {self._synchronous}")
                    mover.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            if not is_full(error):
                self._error = error
        finally:
            self._has_passed = True

    def _another(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)

    def _move_rest(self) -> None:
        try:
            self._moved()
        except sqlite3.Error as error:
            if not is_full(error):
                self._leave_log()
                raise
        else:
            self._logged = 0

    def _moved(self) -> None:
        """Move all pages of the log. No other connection reads or writes."""
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _leave_log(self) -> None:
        """Prevent the checkpoint at the end of the connection. Python knows how to do that from 3.12 on."""
        if hasattr(self._connection, "setconfig"):
            self._connection.setconfig(_NO_CHECKPOINT_ON_CLOSE)


def is_full(error: BaseException) -> bool:
    """Return whether an error of SQLite is due to a full disk."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL

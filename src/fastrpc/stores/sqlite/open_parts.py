"""The open parts of a folder. They are closed in order, even if the owner of the folder never closes it.

SQLite moves its log into the file and removes it as the last connection ends, also if Python frees the connection.
Without a note of the end, the commits of a missing log count as lost. So Python never frees a living connection, and
it ends here alone:

    the owner closes the folder     it is noted that the file has all commits, then the connection ends
    the program ends, or the owner  the same: `weakref.finalize` holds the parts until then
    is garbage
    the end cannot be noted         the log stays
    the program ends in between     the same: a second Ctrl-C ends the finalizers
    a forked child                  forgets the connection

A connection of SQLite must not be used after a fork, nor closed. The end of a child would move an old log into the
file, and remove the log of a process that opened the folder since; it would wait for a lock of a thread of the parent.
"""

import contextlib
import ctypes
import logging
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from fastrpc.stores.sqlite.checkpoints import Checkpoints
from fastrpc.stores.sqlite.claim import FolderClaim
from fastrpc.stores.sqlite.file import FileKind, log_path, read_only, sync_path
from fastrpc.stores.sqlite.numbers import NumbersFile

__all__ = ["OpenParts"]

#: The parts that are open.
_open: "weakref.WeakSet[OpenParts]" = weakref.WeakSet()


class OpenParts:
    """The claim, the connection and the files of one folder.

    Attributes:
        path: the file.
        log: its write-ahead log.
        claim: held while the folder is open.
        numbers: the second file.
        connection: writes the commits; None if the folder is closed.
        log_file: the descriptor of the log.
        checkpoints: None before commits may come.
        lock: held by a thread that uses the connection; another thread may close it as the program ends.
    """

    def __init__(self, place: Path, kind: FileKind, logger: logging.Logger) -> None:
        self.path = place / kind.file
        self.log = log_path(self.path)
        self.claim = FolderClaim(place, kind)
        self.numbers = NumbersFile(place, kind)
        self.connection: sqlite3.Connection | None = None
        self.log_file: int | None = None
        self.checkpoints: Checkpoints | None = None
        # Reentrant: a failed opening closes.
        self.lock = threading.RLock()
        self._logger = logger

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Take the claim; close all parts if the block fails."""
        with self.lock:
            self.claim.take()
            _open.add(self)
            try:
                yield
            except BaseException:
                self.close()
                raise

    def hold(self, connection: sqlite3.Connection) -> None:
        """Take the connection for commits, which lives until `close`."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self.connection = connection

    def close(self) -> None:
        """Note the end, and close all parts; closing them twice is fine."""
        with self.lock:
            try:
                if self.connection is not None:
                    self._end(self.connection)
            finally:
                self._release()

    def forget(self) -> None:
        """Leave the connection to the parent of this process."""
        # The lock may be held by a thread of the parent.
        self.lock = threading.RLock()
        self._release()

    def _release(self) -> None:
        """Close the descriptors, after the connection has ended or was left."""
        _open.discard(self)
        if self.checkpoints is not None:
            self.checkpoints.close()
        self.checkpoints = None
        self.numbers.close()
        if self.log_file is not None:
            os.close(self.log_file)
            self.log_file = None
        connection, self.connection = self.connection, None
        if connection is None:
            self.claim.release()
        else:
            self.claim.leave()

    def _end(self, connection: sqlite3.Connection) -> None:
        """Note the end in the second file, and close the connection, which removes the log.

        Without the note the next opening takes commits for lost that were in a log which is gone. If the end cannot be
        noted, the log stays.
        """
        is_noted = False
        try:
            is_noted = self._note_end()
        finally:
            if is_noted:
                self._disconnect(connection)
            else:
                self._close_beside_log(connection)

    def _note_end(self) -> bool:
        """Note that the file and its log have all commits; return False if they may not."""
        if self.checkpoints is None:
            return False
        try:
            if not self.checkpoints.finish():
                # Another program reads the file, and may remove the log later.
                sync_path(self.log)
        except (sqlite3.Error, OSError) as error:
            self._logger.warning("%s keeps its log, which cannot be moved into it: %s", self.path, error)
            return False
        self.numbers.note(is_unsynced=False, is_clean=True)
        return True

    def _close_beside_log(self, connection: sqlite3.Connection) -> None:
        """Close a connection; its log stays.

        SQLite removes the log with the last connection, but not if this connection only reads. Without a descriptor for
        a reader the connection lives on.
        """
        with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(self.path)) as reader:
            reader.execute("PRAGMA schema_version").fetchall()
            self._disconnect(connection)

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        """Close a connection, which Python may free from now on."""
        connection.close()
        self.connection = None
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(connection))


def _forget_all() -> None:
    # The collector may close other parts meanwhile.
    while _open:
        _open.pop().forget()


os.register_at_fork(after_in_child=_forget_all)

"""The open parts of a folder. They are closed in the right order, even if the owner of the folder never closes it.

When the last connection closes, SQLite moves the log into the file and removes the log; also if Python frees the
connection. If this is not recorded in the second file first, the commits of the missing log count as lost. So Python
must never free an open connection. It is closed only here:

    the owner closes the folder        record that the file has all commits, then close the connection
    the program ends, or the owner is  the same: `weakref.finalize` keeps the parts alive until then
    garbage-collected
    the record cannot be written       the log stays
    the finalizers are interrupted     the log stays (by a second Ctrl-C)
    a forked child                     leaves the connection to the parent

A SQLite connection must be neither used nor closed after a fork. A child that closes it would move an outdated log into
the file, remove the log of another process that has opened the folder since, and might wait for a lock that a thread of
the parent holds.
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

#: All open parts of this process.
_open: "weakref.WeakSet[OpenParts]" = weakref.WeakSet()


class OpenParts:
    """The claim, the connection and the files of one folder.

    Attributes:
        path: the path of the file.
        log: the path of the write-ahead log.
        claim: the claim, which is held while the folder is open.
        numbers: the second file.
        connection: the connection that writes the commits; None if the folder is closed.
        log_file: the descriptor of the log.
        checkpoints: the checkpoints; None until commits are possible.
        lock: held by a thread that uses the connection, since another thread may close it when the program ends.
    """

    def __init__(self, place: Path, kind: FileKind, logger: logging.Logger) -> None:
        self.path = place / kind.file
        self.log = log_path(self.path)
        self.claim = FolderClaim(place, kind)
        self.numbers = NumbersFile(place, kind)
        self.connection: sqlite3.Connection | None = None
        self.log_file: int | None = None
        self.checkpoints: Checkpoints | None = None
        # Reentrant, since a failed opening closes the parts.
        self.lock = threading.RLock()
        self._logger = logger

    @contextlib.contextmanager
    def opening(self) -> Iterator[None]:
        """Take the claim. Close all parts if the block fails."""
        with self.lock:
            self.claim.take()
            _open.add(self)
            try:
                yield
            except BaseException:
                self.close()
                raise

    def hold(self, connection: sqlite3.Connection) -> None:
        """Set the connection for commits, and keep it alive until `close`."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
        self.connection = connection

    def close(self) -> None:
        """Record the close and close all parts. Closing them twice is fine."""
        with self.lock:
            try:
                if self.connection is not None:
                    self._end(self.connection)
            finally:
                self._release()

    def forget(self) -> None:
        """In a forked child, leave the connection to the parent without closing it."""
        # A thread of the parent may hold the old lock.
        self.lock = threading.RLock()
        self._release()

    def _release(self) -> None:
        """Close the descriptors, after the connection was closed or left."""
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
        """Record the close in the second file, then close the connection, which removes the log.

        Without the record the next opening would count the commits of the missing log as lost. If it cannot be written,
        the log stays.
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
        """Move all commits into the file and record this in the second file; return False if this may have failed."""
        if self.checkpoints is None:
            return False
        try:
            if not self.checkpoints.finish():
                # Another program reads the file, and may move and remove the log later: sync the log.
                sync_path(self.log)
        except (sqlite3.Error, OSError) as error:
            self._logger.warning("%s keeps its log, which cannot be moved into it: %s", self.path, error)
            return False
        self.numbers.note(is_unsynced=False, is_clean=True)
        return True

    def _close_beside_log(self, connection: sqlite3.Connection) -> None:
        """Close a connection without removing its log.

        SQLite removes the log when the last connection closes, except if that is a read-only connection. So a read-only
        connection is closed last. If it cannot be opened, the connection is left open.
        """
        with contextlib.suppress(sqlite3.Error), contextlib.closing(read_only(self.path)) as reader:
            reader.execute("PRAGMA schema_version").fetchall()
            self._disconnect(connection)

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        """Close a connection. Python may free it from now on."""
        connection.close()
        self.connection = None
        ctypes.pythonapi.Py_DecRef(ctypes.py_object(connection))


def _forget_all() -> None:
    # Loop, since the garbage collector may close other parts in between.
    while _open:
        _open.pop().forget()


os.register_at_fork(after_in_child=_forget_all)

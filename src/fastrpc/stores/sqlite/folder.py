"""A folder with one SQLite file in WAL mode, which one connection writes. It is independent of the tables.

    claim        the lock of the folder: it is private, and used by one process
    file         create and check the file
    log          the write-ahead log, which is read before SQLite opens it
    checkpoints  move the pages of the log into the file
    numbers      the second file: numbers that commits may have
    open_parts   all of these while the folder is open, and how they are closed

An owner passes its `Tables`, which have a `FileKind` with names and texts. It calls in one thread:

    open     claim and check the folder, skip the numbers of lost commits; return the result of the owner's function
    commit   execute one transaction, all or nothing
    read     call a function between two commits
    close    may be called twice, and after a failed `open`

A folder that its owner does not close is closed at the end of the program, or when the owner is garbage-collected. A
forked child has no open folder.

`room` and `file_bytes` may be called in any thread.
"""

import contextlib
import logging
import os
import sqlite3
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from fastrpc.errors import ConfigError
from fastrpc.status import Status
from fastrpc.stores.sqlite.checkpoints import Checkpoints, is_full
from fastrpc.stores.sqlite.file import DAMAGE, Tables, make_file, open_file, read_only, roll_back_journal
from fastrpc.stores.sqlite.log import SALTS_AT, LogEnd, read_log
from fastrpc.stores.sqlite.open_parts import OpenParts

__all__ = ["SqliteFolder", "Sync"]

T = TypeVar("T")

Sync: TypeAlias = Literal["full", "normal"]

#: The oldest supported version of SQLite. Older versions lack statements.
_OLDEST_SQLITE: Final = (3, 35)

#: Added to the number of a file that may have lost commits and was written by an earlier version of fastrpc, without a
#: second file that reserves numbers.
_LOST_NUMBERS: Final = 1 << 20

#: Free bytes of the disk below which the folder counts as full, so that deletions can still be written.
_FREE_BYTES: Final = 64 * 1024 * 1024

#: Pages that a commit writes besides its values.
_COMMIT_PAGES: Final = 6


class SqliteFolder:
    """A folder that one process at a time uses. A documented FastRPCError is of the kind's class.

    Commits have rising numbers. If the folder was not closed, the next opening raises the number above all numbers that
    commits may have. So no number is used twice, even if acknowledged commits are lost.

    Args:
        place: the folder; it is created if it is missing, with mode 0700. Other users must not have access to it.
        sync: "full" keeps commits across a power loss, "normal" only across the end of the process.

    Attributes:
        path: the path of the file.

    Raises:
        ConfigError: `sync` is unknown, or SQLite is older than 3.35.
    """

    def __init__(self, place: Path, tables: Tables, *, sync: Sync = "full") -> None:
        kind = tables.kind
        if sync not in ("full", "normal"):
            raise ConfigError(f"sync is {sync!r}, it must be 'full' or 'normal'")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigError(f"SQLite is {sqlite3.sqlite_version}, a {kind.name} needs 3.35 or later")
        self.place, self.path = place, place / kind.file
        self._tables, self._kind, self._sync = tables, kind, sync
        self._logger = logging.getLogger(f"fastrpc.{kind.name}")
        self._parts = OpenParts(place, kind, self._logger)
        # `_salts`: the salts of the log. `_commits`: the number of acknowledged commits in it.
        self._salts = bytes(8)
        self._commits = 0
        # Close the parts if the owner does not. The finalizer keeps the parts, and so the connection, alive until then.
        weakref.finalize(self, self._parts.close)

    def open(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Open the file, or create it if it is missing; return the result of a function that reads it.

        Raises:
            FastRPCError: FAILED_PRECONDITION: another process holds the folder, other users have access to it, or the
                file belongs to another program or a later version. DATA_LOSS: the file is damaged; nothing was
                overwritten. UNAVAILABLE: the file cannot be opened now.
        """
        try:
            with self._parts.opening():
                self._open()
                return read(self.connection)
        except (sqlite3.Error, OSError) as error:
            # A full disk or a lock of another program is not damage: a user who restored a copy would lose writes.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
                raise self._kind.damaged(self.path, str(error)) from error
            raise self._kind.error(f"{self.path} cannot be opened: {error}", processed="no") from error

    @property
    def is_held(self) -> bool:
        """True if this process holds the folder, from `open` to `close`."""
        return self._parts.claim.is_held

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the open file, for the thread of the owner. FastRPCError: it is closed."""
        connection = self._parts.connection
        if connection is None:
            raise self._kind.error(f"{self.path} is closed")
        return connection

    def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the connection; return its result. FastRPCError: the folder is closed."""
        with self._parts.lock:
            return look(self.connection)

    def commit(
        self,
        write: Callable[[sqlite3.Connection], None],
        *,
        number: int,
        size: int,
        is_single: bool = False,
    ) -> None:
        """Commit the writes of a function, all or nothing.

        The function has to change the file, since SQLite adds no commit to its log if no row changes.

        Args:
            number: the greatest number that the function assigns; 0 if it assigns none.
            size: the bytes of the values that it writes, counted once.
            is_single: whether it executes only one statement, which needs no explicit transaction. This is faster:
                Python's sqlite3 releases the GIL at each statement and has to wait for it afterwards.

        Raises:
            FastRPCError: RESOURCE_EXHAUSTED: the disk is full, and nothing was kept. After any other error the commit
                may have been kept.
        """
        with self._parts.lock:
            self._commit(write, number, is_single=is_single)
            self._acknowledge(number)
            written = _COMMIT_PAGES * self._kind.page_bytes + self._kind.copies * size
            self._checkpoints.committed(written, self)

    def _commit(self, write: Callable[[sqlite3.Connection], None], number: int, *, is_single: bool) -> None:
        connection = self.connection
        self._checkpoints.check()
        self._parts.numbers.cover(number)
        if not is_single:
            connection.execute("BEGIN IMMEDIATE")
        try:
            write(connection)
            if not is_single:
                connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if is_full(error):
                # SQLite reports a full disk before it syncs the commit, so no part of the commit was kept.
                text = f"the disk of {self.path} is full"
                raise self._kind.error(text, status=Status.RESOURCE_EXHAUSTED, processed="no") from error
            raise

    def close(self) -> None:
        """Move all commits into the file, close it, and release the folder."""
        self._parts.close()

    @property
    def _checkpoints(self) -> Checkpoints:
        checkpoints = self._parts.checkpoints
        assert checkpoints is not None
        return checkpoints

    def room(self) -> int:
        """Return how many bytes of values still fit; negative if the disk is full."""
        disk = os.statvfs(self.place)
        # Each copy of a value is written twice, to the log and to the file.
        return (disk.f_bavail * disk.f_frsize - _FREE_BYTES) // (2 * self._kind.copies)

    def file_bytes(self) -> int:
        """Return the size of the file and its log in bytes."""
        sizes = 0
        for path in (self.path, self._parts.log):
            with contextlib.suppress(FileNotFoundError):
                sizes += os.stat(path).st_size
        return sizes

    def _open(self) -> None:
        has_numbers = self._parts.numbers.read()
        if not self.path.exists():
            if self._parts.log.exists():
                # Refuse the log: SQLite would replay its commits into a new file.
                raise self._kind.damaged(self.path, "it is missing beside its -wal")
            if has_numbers:
                raise self._kind.damaged(self.path, f"it is missing beside {self._parts.numbers.path.name}")
            make_file(self.place / f"{self._kind.file}.new", self.path, self._kind, is_logged=True)
        end = read_log(self._parts.log)
        self._check_log(end, has_numbers)
        roll_back_journal(self.path)
        connection = open_file(self.path, self._tables)
        self._parts.hold(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # With this setting a commit has each page once, in the order of page numbers.
        connection.execute("PRAGMA cache_spill = OFF")
        self._begin(connection, end, has_numbers)

    def _check_log(self, end: LogEnd, has_numbers: bool) -> None:
        """Refuse a log that has lost commits by damage. Warn of a bad end, which SQLite drops.

        If commits are synced, a power cut can tear only the last commit; otherwise it can tear any commit.

        Raises:
            FastRPCError: commits are missing, and only damage can be the cause.
        """
        if end.has_bad_header:
            raise self._kind.damaged(self._parts.log, "its header is bad")
        if not end.is_bad:
            return
        lost = self._lost_commits(end)
        if end.later and (end.is_before_commit or lost) and self._was_synced(has_numbers):
            raise self._kind.damaged(
                self._parts.log, f"frame {end.frames + 1} is bad, and {end.later} of the same log follow it"
            )
        self._logger.warning(
            "%s has a bad end: %d commits are dropped, from frame %d on",
            self._parts.log,
            max(lost, end.later_commits, 1),
            end.frames + 1,
        )

    def _was_synced(self, has_numbers: bool) -> bool:
        """Return whether each commit of a log was synced before the next."""
        if has_numbers:
            return not self._parts.numbers.is_unsynced
        if self._sync != "full":
            return False
        roll_back_journal(self.path)
        with contextlib.closing(read_only(self.path)) as connection:
            return not self._tables.was_unsynced(connection)

    def _lost_commits(self, end: LogEnd) -> int:
        """Return the number of acknowledged commits that are missing from a log, as far as known."""
        numbers = self._parts.numbers
        if numbers.salts == end.salts:
            return max(numbers.commits - end.commits, 0)
        # A missing log means lost commits here: a process that was killed would have left its log.
        return 0 if numbers.is_clean or numbers.is_emptied or end.has_salts else numbers.commits

    def _begin(self, connection: sqlite3.Connection, end: LogEnd, has_numbers: bool) -> None:
        """Raise the number unless the last close was clean, and record whether later commits may be lost.

        The power may be cut between two steps. After each step the next opening treats the folder in the same way.
        """
        numbers, tables = self._parts.numbers, self._tables
        latest, could_lose = tables.latest(connection), tables.was_unsynced(connection)
        may_lose = self._sync == "normal"
        has_lost = self._has_lost(latest, end)
        if not has_numbers and (could_lose or end.is_bad):
            numbers.reserved = latest + _LOST_NUMBERS
        numbers.open()
        is_gone = (numbers.is_clean or numbers.is_emptied) and not end.has_salts
        is_clean = numbers.is_clean if has_numbers else not end.is_bad
        was_unsynced = could_lose or (numbers.is_unsynced and not is_clean)
        numbers.note_opening(
            is_unsynced=numbers.is_unsynced or may_lose,
            has_lost=has_lost,
            # Record that the log is emptied or gone, so that its commits do not count as lost.
            is_emptied=is_gone or end.is_bad,
        )
        if is_gone:
            numbers.acknowledge(numbers.acknowledged, end.salts, 0)
        if end.is_bad:
            _empty_log(connection)
        if could_lose or has_lost or not is_clean:
            own = max(latest, numbers.reserved)
            numbers.cover(own)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            tables.raise_to(connection, own, is_incomplete=was_unsynced or has_lost)
            connection.execute("COMMIT")
            # Read the log again: SQLite may not have added a commit, if no row was changed.
            end = read_log(self._parts.log)
            numbers.acknowledge(own, end.salts, end.commits)
        self._salts, self._commits = end.salts, end.commits
        if numbers.is_emptied:
            numbers.sync()
        numbers.note(is_unsynced=may_lose)
        connection.execute(f"PRAGMA synchronous = {self._sync.upper()}")
        # Open the log now: SQLite uses this file until the connection is closed.
        self._parts.log_file = os.open(self._parts.log, os.O_RDONLY | os.O_CLOEXEC)
        self._parts.checkpoints = Checkpoints(connection, self.path, self._sync.upper())

    def _has_lost(self, latest: int, end: LogEnd) -> bool:
        """Return whether acknowledged commits are missing; log a warning in this case."""
        numbers, word = self._parts.numbers, self._kind.number
        lost = self._lost_commits(end)
        if latest >= numbers.acknowledged and not lost and not numbers.has_lost:
            return False
        self._logger.warning(
            "%s has lost its last commits, %d of its log: it has %s %d, acknowledged was %d; the next %s is above %d",
            self.path,
            lost,
            word,
            latest,
            numbers.acknowledged,
            word,
            numbers.reserved,
        )
        return True

    def _acknowledge(self, number: int) -> None:
        """Count an acknowledged commit of the log. If the salts have changed, SQLite has restarted the log.

        Raises:
            OSError: the log file was removed, so another opening would not find this commit.
        """
        parts = self._parts
        assert parts.log_file is not None
        if not os.fstat(parts.log_file).st_nlink:
            raise FileNotFoundError(f"another program has removed {parts.log}")
        salts = os.pread(parts.log_file, len(self._salts), SALTS_AT)
        if salts != self._salts:
            self._salts, self._commits = salts, 0
        self._commits += 1
        parts.numbers.acknowledge(number, salts, self._commits)


def _empty_log(connection: sqlite3.Connection) -> None:
    """Empty a log with a bad end, since its bad frames would look like damage after further commits.

    Raises:
        sqlite3.OperationalError: another program reads.
    """
    is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise sqlite3.OperationalError("another program reads its log, which has to be emptied")

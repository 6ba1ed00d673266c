"""A folder with one SQLite file in WAL mode, written by one connection. It knows no table.

    claim        the folder: private, and of one process
    file         the file by its kind: made, checked
    log          the write-ahead log, read before SQLite opens it
    checkpoints  the pages of the log move into the file
    numbers      the second file: numbers that commits may have been given
    open_parts   all of these while the folder is open, and their end

An owner passes its `Tables`, which have the names and texts of their `FileKind`, and calls, in one thread:

    open     claim, check, go on behind lost commits; returns what the owner reads
    commit   one transaction, all or nothing
    read     what a function finds between two commits
    close    may be called twice, and after a failed `open`

A folder that its owner leaves open is closed with the program, or as the owner is garbage. A forked child has no open
folder.

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

#: Older versions lack statements used here.
_OLDEST_SQLITE: Final = (3, 35)

#: Added to the number of an earlier version's file that may have lost commits: it has no second file, which reserves
#: numbers.
_LOST_NUMBERS: Final = 1 << 20

#: Free bytes of the disk below which there is no room, so that deletions can still be written.
_FREE_BYTES: Final = 64 * 1024 * 1024

#: Pages of a commit besides its values.
_COMMIT_PAGES: Final = 6


class SqliteFolder:
    """Belongs to one process at a time. Errors that its methods name are of the kind's class.

    Each commit has a number, which only rises. If the folder was not closed, the next opening raises the number above
    all numbers that commits may have. So no number is repeated, even if acknowledged commits are lost.

    Args:
        place: the folder; made if it is missing, with the mode 0700. Others must not be able to enter it.
        sync: "full" keeps commits across a power loss, "normal" across the end of the process only.

    Attributes:
        path: the file.

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
        # The salts of the log, and its commits so far.
        self._salts = bytes(8)
        self._commits = 0
        # Closes the parts if nothing else does. It holds the parts, so the connection is no garbage before its end.
        weakref.finalize(self, self._parts.close)

    def open(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Open the file, created if it is missing; return what a function reads from it.

        Raises:
            FastRPCError: FAILED_PRECONDITION: another process holds the folder or others can enter it, the file is of
                another program or of a later version; DATA_LOSS: it is damaged, nothing was overwritten; UNAVAILABLE:
                it cannot be opened now.
        """
        try:
            with self._parts.opening():
                self._open()
                return read(self.connection)
        except (sqlite3.Error, OSError) as error:
            # A full disk or a lock of another program is not damage: a copy in place of the file would lose writes.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
                raise self._kind.damaged(self.path, str(error)) from error
            raise self._kind.error(f"{self.path} cannot be opened: {error}", processed="no") from error

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder, from `open` to `close`."""
        return self._parts.claim.is_held

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of the open file, for the thread of the owner. FastRPCError: it is closed."""
        connection = self._parts.connection
        if connection is None:
            raise self._kind.error(f"{self.path} is closed")
        return connection

    def read(self, look: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a function finds. FastRPCError: the folder is closed."""
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
        """Keep what a function writes, all or nothing.

        The function has to change the file: SQLite adds no commit to its log for unchanged rows.

        Args:
            number: the greatest number that it assigns; 0 for none.
            size: bytes of the values that it writes, each once.
            is_single: whether it executes one statement only, which is a transaction by itself. SQLite's module leaves
                the interpreter to other threads at each statement, and waits for it after each one.

        Raises:
            FastRPCError: RESOURCE_EXHAUSTED: there is no room, and nothing was kept. After any other error the commit
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
                # SQLite reports a full disk before it syncs the commit, so nothing of the commit was kept.
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
        """Return the number of bytes of values that still fit; below 0: none."""
        disk = os.statvfs(self.place)
        # Each copy of a value is written twice: to the log and to the file.
        return (disk.f_bavail * disk.f_frsize - _FREE_BYTES) // (2 * self._kind.copies)

    def file_bytes(self) -> int:
        """Return the size of the file and its log."""
        sizes = 0
        for path in (self.path, self._parts.log):
            with contextlib.suppress(FileNotFoundError):
                sizes += os.stat(path).st_size
        return sizes

    def _open(self) -> None:
        has_numbers = self._parts.numbers.read()
        if not self.path.exists():
            if self._parts.log.exists():
                # SQLite would replay these commits into a new file.
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
        # Each page is once in a commit, in the order of page numbers.
        connection.execute("PRAGMA cache_spill = OFF")
        self._begin(connection, end, has_numbers)

    def _check_log(self, end: LogEnd, has_numbers: bool) -> None:
        """Refuse a log that lost commits by damage; warn of a bad end, which SQLite drops.

        If commits are synced, a power cut tears only the last one; if not, it may tear any.

        Raises:
            FastRPCError: commits are missing that only damage can have removed.
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
        """Return whether the commits of a log were synced, each before the next one."""
        if has_numbers:
            return not self._parts.numbers.is_unsynced
        if self._sync != "full":
            return False
        roll_back_journal(self.path)
        with contextlib.closing(read_only(self.path)) as connection:
            return not self._tables.was_unsynced(connection)

    def _lost_commits(self, end: LogEnd) -> int:
        """Return how many acknowledged commits are missing from a log, as far as known."""
        numbers = self._parts.numbers
        if numbers.salts == end.salts:
            return max(numbers.commits - end.commits, 0)
        # A process that was killed leaves its log.
        return 0 if numbers.is_clean or numbers.is_emptied or end.has_salts else numbers.commits

    def _begin(self, connection: sqlite3.Connection, end: LogEnd, has_numbers: bool) -> None:
        """Raise the number unless the last close was clean, and note whether later commits may be lost.

        The power may be cut between two steps: each step leaves a folder that the next opening treats like this one.
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
            # The commits of a log that is gone must not count as lost.
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
            # SQLite adds nothing to its log if no row was changed.
            end = read_log(self._parts.log)
            numbers.acknowledge(own, end.salts, end.commits)
        self._salts, self._commits = end.salts, end.commits
        if numbers.is_emptied:
            numbers.sync()
        numbers.note(is_unsynced=may_lose)
        connection.execute(f"PRAGMA synchronous = {self._sync.upper()}")
        # SQLite has opened its log, and keeps this file until the connection ends.
        self._parts.log_file = os.open(self._parts.log, os.O_RDONLY | os.O_CLOEXEC)
        self._parts.checkpoints = Checkpoints(connection, self.path, self._sync.upper())

    def _has_lost(self, latest: int, end: LogEnd) -> bool:
        """Return whether acknowledged commits are missing, and log a warning."""
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
        """Note a commit as one more of its log; a restarted log has other salts.

        Raises:
            OSError: the log was removed, so this commit is in no file that another opening finds.
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
    """Empty a log with a bad end: its bad frames would look like damage once other commits follow.

    Raises:
        sqlite3.OperationalError: another program reads.
    """
    is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise sqlite3.OperationalError("another program reads its log, which has to be emptied")

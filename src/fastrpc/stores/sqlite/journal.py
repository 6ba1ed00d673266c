"""The journal of a store in a folder: a file of SQLite in WAL, written and checkpointed by one connection."""

import contextlib
import fcntl
import logging
import os
import sqlite3
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from fastrpc.errors import ConfigError, StoreError
from fastrpc.status import Status
from fastrpc.stores.base import ItemChange, LeaseChange, Saved
from fastrpc.stores.sqlite.file import (
    DAMAGE,
    damaged,
    log_path,
    make_file,
    open_file,
    read_file,
    read_may_lose,
    sync_path,
)
from fastrpc.stores.sqlite.log import SALTS_AT, LogEnd, read_log
from fastrpc.stores.sqlite.revisions import RevisionsFile

__all__ = ["SqliteJournal"]

logger = logging.getLogger("fastrpc.store")

#: Older versions lack statements used here.
_OLDEST_SQLITE: Final = (3, 35)

#: Added to the revision of an earlier version's store that may have lost commits, as no second file reserves any.
_LOST_REVISIONS: Final = 1 << 20

#: Items are refused when the disk has less room, so that deletions can still be written.
_FREE_BYTES: Final = 64 * 1024 * 1024

#: Bytes on the disk for each byte of a change: in the log and in the file, as an item and in the history.
_COPIES: Final = 4

#: Bytes of the log after which its pages go into the file, and those of a commit beside its values: some six pages.
_LOG_BYTES: Final = 4 * 1024 * 1024
_COMMIT_BYTES: Final = 6 * 4096

#: SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE.
_NO_CHECKPOINT_ON_CLOSE: Final = 1006

#: The journals that hold a folder.
_held: "weakref.WeakSet[SqliteJournal]" = weakref.WeakSet()


class SqliteJournal:
    """A `Journal` in a folder that belongs to one process at a time.

    Args:
        folder: made if it is missing, with the mode 0700; others must not be able to enter it.
        sync: "full" keeps commits across a power loss, "normal" across the end of the process only. Unless the store
            was closed, the next opening raises the revision; behind "normal" it forgets the history, too.

    Raises:
        ConfigError: `sync` is unknown, or SQLite is older than 3.35.
    """

    def __init__(self, folder: str | os.PathLike[str], *, sync: Literal["full", "normal"] = "full") -> None:
        if sync not in ("full", "normal"):
            raise ConfigError(f"sync is {sync!r}, it must be 'full' or 'normal'")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigError(f"SQLite is {sqlite3.sqlite_version}, a store needs 3.35 or later")
        self._folder = Path(folder)
        self._path = self._folder / "store.db"
        self._log = log_path(self._path)
        self._revisions = RevisionsFile(self._folder / "store.revisions")
        self._sync = sync
        self._claim: int | None = None
        self._connection: sqlite3.Connection | None = None
        # The log, its salts, and its commits so far.
        self._log_file: int | None = None
        self._salts = bytes(8)
        self._commits = 0
        # Whether commits may come.
        self._has_begun = False
        # Bytes of the log that are not in the file yet, as far as is known.
        self._logged = 0

    def open(self) -> Saved:
        self._lock()
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self.close()
            # A full disk or a lock of another program is no damage: a copy in its place would lose writes.
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGE:
                raise damaged(self._path, str(error)) from error
            raise StoreError(f"{self._path} cannot be opened: {error}", processed="no") from error
        except BaseException:
            self.close()
            raise

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        connection = self._opened()
        latest = max((change.revision for change in changes if isinstance(change, ItemChange)), default=0)
        self._revisions.cover(latest)
        connection.execute("BEGIN IMMEDIATE")
        try:
            for change in changes:
                if isinstance(change, ItemChange):
                    _write_change(connection, change)
                elif change.seconds is None:
                    connection.execute("DELETE FROM leases WHERE name = ?", (change.name,))
                else:
                    connection.execute("INSERT INTO leases VALUES (?, ?)", (change.name, change.seconds))
            connection.execute("DELETE FROM history WHERE changed <= ?", (compacted,))
            connection.execute(
                "UPDATE revisions SET latest = max(latest, ?), compacted = ?", (latest, compacted)
            )
            connection.execute("COMMIT")
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if _is_full(error):
                # Told before the sync of a commit, so none is on the disk.
                text = f"the disk of {self._path} is full"
                raise StoreError(text, status=Status.RESOURCE_EXHAUSTED, processed="no") from error
            raise
        self._acknowledge(latest)
        values = (change.item.value for change in changes if isinstance(change, ItemChange) and change.item)
        self._logged += _COMMIT_BYTES + 2 * sum(map(len, values))
        if self._logged >= _LOG_BYTES:
            self._checkpoint(connection)

    def close(self) -> None:
        try:
            if self._connection is not None:
                self._connection.close()
                if self._has_begun and not self._log.exists():
                    # SQLite has synced the file. One whose end is not noted may have lost commits.
                    self._revisions.note(is_unsynced=False, is_clean=True)
        finally:
            self._connection = None
            self._has_begun = False
            self._revisions.close()
            if self._log_file is not None:
                os.close(self._log_file)
                self._log_file = None
            self.forget_claim()

    def forget_claim(self) -> None:
        """Close the descriptor of the claim in a forked child; the parent keeps its own."""
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def room(self) -> int:
        disk = os.statvfs(self._folder)
        return (disk.f_bavail * disk.f_frsize - _FREE_BYTES) // _COPIES

    def file_bytes(self) -> int:
        """Return the size of the file and its log; any thread may ask."""
        sizes = 0
        for path in (self._path, self._log):
            with contextlib.suppress(FileNotFoundError):
                sizes += os.stat(path).st_size
        return sizes

    def _open(self) -> Saved:
        has_revisions = self._revisions.read()
        if not self._path.exists():
            if self._log.exists():
                # SQLite would replay these commits into a new file.
                raise damaged(self._path, "it is missing beside its -wal")
            if has_revisions:
                raise damaged(self._path, f"it is missing beside {self._revisions.path.name}")
            make_file(self._folder / "store.db.new", self._path)
        end = read_log(self._log)
        self._check_log(end, has_revisions)
        connection = self._connection = open_file(self._path)
        self._salts, self._commits = end.salts, end.commits
        if end.is_torn or end.later:
            # Behind commits to come they would look like damage.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        self._begin(connection, end, has_revisions)
        return read_file(connection)

    def _check_log(self, end: LogEnd, has_revisions: bool) -> None:
        """Refuse a log that lost commits by damage, and warn of others that SQLite drops.

        A power cut tears the last commit alone if commits are synced, and any of them otherwise.

        Raises:
            StoreError: commits were lost that nothing but damage takes away.
        """
        if end.has_bad_header:
            raise damaged(self._log, "its header is bad")
        if not end.is_torn and not end.later:
            return
        lost = self._lost_commits(end)
        if end.later and (end.is_before_commit or lost) and self._was_synced(has_revisions):
            raise damaged(
                self._log, f"frame {end.frames + 1} is bad, and {end.later} of the same log follow it"
            )
        logger.warning(
            "%s has a bad end: %d commits are dropped, from frame %d on",
            self._log,
            max(lost, end.later_commits, 1),
            end.frames + 1,
        )

    def _was_synced(self, has_revisions: bool) -> bool:
        """Return whether the commits of a log were synced, each before the next one."""
        if has_revisions:
            return not self._revisions.is_unsynced
        return self._sync == "full" and not read_may_lose(self._path)

    def _lost_commits(self, end: LogEnd) -> int:
        """Return how many acknowledged commits a log lacks, as far as is known."""
        revisions = self._revisions
        if revisions.salts == end.salts:
            return max(revisions.commits - end.commits, 0)
        # A store that was killed leaves its log.
        return 0 if revisions.is_clean or end.has_salts else revisions.commits

    def _lock(self) -> None:
        """Make the folder, and lock it against other processes."""
        missing = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            sync_path(path.parent)
        mode = self._folder.stat().st_mode & 0o777
        if mode & 0o077:
            raise StoreError(
                f"other users can enter {self._folder}, its mode is {mode:o}",
                status=Status.FAILED_PRECONDITION,
                hint=f"chmod 700 {self._folder}",
            )
        claim = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(claim)
            raise StoreError(
                f"another store holds {self._folder}",
                status=Status.FAILED_PRECONDITION,
                hint="end it, or give each of them a folder of its own; fastrpc store check FOLDER reads a free one",
            ) from None
        except BaseException:
            os.close(claim)
            raise
        self._claim = claim
        _held.add(self)

    def _begin(self, connection: sqlite3.Connection, end: LogEnd, has_revisions: bool) -> None:
        """Raise the revision unless the last end was clean, and note whether commits from here on may be lost."""
        revisions = self._revisions
        revisions.open()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        # Each page is once in a commit, in the order of the numbers.
        connection.execute("PRAGMA cache_spill = OFF")
        latest, could_lose = connection.execute("SELECT latest, may_lose FROM revisions").fetchone()
        may_lose = self._sync == "normal"
        has_lost = self._has_lost(latest, end)
        if has_revisions and revisions.is_clean and not end.has_salts:
            # SQLite has deleted it.
            revisions.acknowledge(revisions.acknowledged, end.salts, 0)
        is_clean = revisions.is_clean if has_revisions else not (end.is_torn or end.later)
        was_unsynced = could_lose or (revisions.is_unsynced and not is_clean)
        revisions.note(is_unsynced=revisions.is_unsynced or may_lose)
        if could_lose or has_lost or not is_clean:
            own = max(latest, revisions.reserved if has_revisions else latest + _LOST_REVISIONS)
            revisions.cover(own)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            if was_unsynced or has_lost:
                connection.execute("DELETE FROM history")
                connection.execute("UPDATE revisions SET compacted = ?", (own,))
            connection.execute("UPDATE revisions SET latest = ?, may_lose = 0", (own,))
            connection.execute("COMMIT")
            self._acknowledge(own)
        revisions.note(is_unsynced=may_lose)
        connection.execute(f"PRAGMA synchronous = {self._sync.upper()}")
        self._has_begun = True

    def _has_lost(self, latest: int, end: LogEnd) -> bool:
        """Return whether acknowledged commits are missing, and warn of them."""
        revisions = self._revisions
        lost = self._lost_commits(end)
        if latest >= revisions.acknowledged and not lost:
            return False
        logger.warning(
            "%s has lost its last commits, %d of its log: it has revision %d, acknowledged was %d; "
            "the next revision is above %d",
            self._path,
            lost,
            latest,
            revisions.acknowledged,
            revisions.reserved,
        )
        return True

    def _acknowledge(self, revision: int) -> None:
        """Note a commit, as one more of its log; a log that has begun anew has other salts."""
        if self._log_file is None:
            self._log_file = os.open(self._log, os.O_RDONLY | os.O_CLOEXEC)
        salts = os.pread(self._log_file, len(self._salts), SALTS_AT)
        if salts != self._salts:
            self._salts, self._commits = salts, 0
        self._commits += 1
        self._revisions.acknowledge(revision, salts, self._commits)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Write the pages of the log into the file.

        SQLite would do that by itself without telling of errors: it would sync again after a sync that failed, which
        succeeds on most systems although pages are lost, and then write over the log.
        """
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            if not _is_full(error):
                # The end of the connection would be another attempt. Python knows how to prevent that from 3.12 on.
                if hasattr(connection, "setconfig"):
                    connection.setconfig(_NO_CHECKPOINT_ON_CLOSE)
                raise
        else:
            self._logged = 0

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"{self._path} is not open")
        return self._connection


def _is_full(error: BaseException) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL


def _write_change(connection: sqlite3.Connection, change: ItemChange) -> None:
    item = change.item
    if item is None:
        connection.execute("DELETE FROM items WHERE key = ?", (change.key,))
        row: tuple[object, ...] = (None, None, None, None)
    else:
        row = (item.value, item.revision, item.lease, item.created)
        connection.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?)", (item.key, *row))
    connection.execute(
        "INSERT INTO history VALUES (NULL, ?, ?, ?, ?, ?, ?)", (change.revision, change.key, *row)
    )


def _release_claims() -> None:
    """Close the claims that a forked child has inherited: its parent's end has to free the folders."""
    for journal in list(_held):
        journal.forget_claim()


os.register_at_fork(after_in_child=_release_claims)

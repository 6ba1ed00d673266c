"""Copy all that is readable in the folder of a stopped broker: as a backup, a repair, or a compaction."""

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastrpc.brokers.sqlite.row_checks import COLUMNS, is_sound
from fastrpc.brokers.sqlite.tables import BROKER, LATEST_SEQUENCE, latest_number
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from fastrpc.stores.sqlite.claim import FolderClaim
from fastrpc.stores.sqlite.file import make_file, read_only, roll_back_journal, sync_path
from fastrpc.stores.sqlite.numbers import NumbersFile

__all__ = ["CopyReport", "copy_broker"]

#: Row numbers that are tried singly after a damaged page. If none is readable, the rest of the table is skipped.
_LOOKED_AT: Final = 100_000

#: The least number that is added to the sequence numbers of topics if the file may lack messages with later numbers.
_LOST_NUMBERS: Final = 1 << 20

#: The tables whose rows have a row number. The table `damaged` is not copied.
_WITH_NUMBERS: Final = frozenset(("topics", "positions", "messages", "letters"))

#: Statements that delete rows whose topic or group is missing.
_ORPHANS: Final = (
    "DELETE FROM messages WHERE topic NOT IN (SELECT number FROM topics)",
    "DELETE FROM ids WHERE topic NOT IN (SELECT number FROM topics)",
    "DELETE FROM positions WHERE topic NOT IN (SELECT number FROM topics)",
    "DELETE FROM settled WHERE reader NOT IN (SELECT number FROM positions)",
    "DELETE FROM counted WHERE reader NOT IN (SELECT number FROM positions)",
    "DELETE FROM letters WHERE reader NOT IN (SELECT number FROM positions)",
)


@dataclass(frozen=True, slots=True)
class CopyReport:
    """The content of a copy.

    Attributes:
        topics: the number of topics.
        groups: the number of groups.
        messages: the number of messages.
        dead: the number of dead letters.
        damaged: the number of rows that are not copied, as they cannot be read or their checksum is wrong.
    """

    topics: int
    groups: int
    messages: int
    dead: int
    damaged: int


def copy_broker(folder: Path, new: Path) -> CopyReport:
    """Copy all that is readable in the folder of a broker into a new folder, which appears once it is complete.

    Raises:
        BrokerError: NOT_FOUND: the folder has no broker; ALREADY_EXISTS: the new folder exists; FAILED_PRECONDITION:
            another process holds the folder, or the file is of a later version; DATA_LOSS: no table is readable.
    """
    path = folder / BROKER.file
    if not path.exists():
        raise BrokerError(f"{folder} has no broker", status=Status.NOT_FOUND)
    if new.exists():
        raise BrokerError(
            f"{new} exists", status=Status.ALREADY_EXISTS, hint="name a folder that does not exist"
        )
    claim = FolderClaim(folder, BROKER)
    claim.take()
    try:
        with suppress(sqlite3.DatabaseError):  # The damage is reported where it is read.
            roll_back_journal(path)
        with closing(read_only(path)) as source:
            _check_version(source, path)
            return _made(source, new, _numbers_of(folder))
    finally:
        claim.release()


def _made(source: sqlite3.Connection, new: Path, numbers: NumbersFile | None) -> CopyReport:
    """Make the copy in a temporary folder, then move it. A failed copy is removed."""
    new.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{new.name}-", dir=new.parent))
    try:
        made = part / BROKER.file
        make_file(part / f"{BROKER.file}.new", made, BROKER)
        with closing(sqlite3.connect(made, isolation_level=None)) as target:
            report = _copied(source, target, numbers)
        sync_path(made)
        part.rename(new)
    except BaseException:
        shutil.rmtree(part)
        raise
    sync_path(new.parent)
    return report


def _numbers_of(folder: Path) -> NumbersFile | None:
    """Open the file of sequence numbers; return None if it is missing or damaged."""
    numbers = NumbersFile(folder, BROKER)
    try:
        return numbers if numbers.read() else None
    except BrokerError:
        return None


def _copied(
    source: sqlite3.Connection, target: sqlite3.Connection, numbers: NumbersFile | None
) -> CopyReport:
    copy = _Copy(source, target)
    target.execute("BEGIN")
    for table, columns in COLUMNS.items():
        copy.add(table, len(columns))
    target.execute("UPDATE numbers SET latest = (SELECT coalesce(max(number), 0) FROM messages)")
    # Rows whose topic or group could not be read are left out.
    for statement in _ORPHANS:
        target.execute(statement)
    lost = 0
    if copy.damaged or numbers is None or not numbers.is_clean:
        # The file may lack messages of any topic, with any numbers up to `reserved`.
        reserved = 0 if numbers is None else numbers.reserved
        lost = max(_LOST_NUMBERS, reserved - latest_number(target))
    target.execute(f"UPDATE topics SET last = {LATEST_SEQUENCE} + ?", (lost,))  # noqa: S608
    target.execute("COMMIT")
    topics, groups, messages, dead = [
        target.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608
        for table in ("topics", "positions", "messages", "letters")
    ]
    return CopyReport(topics, groups, messages, dead, copy.damaged)


def _check_version(source: sqlite3.Connection, path: Path) -> None:
    try:
        (application,) = source.execute("PRAGMA application_id").fetchone()
        (version,) = source.execute("PRAGMA user_version").fetchone()
        source.execute("SELECT name FROM sqlite_master").fetchall()
    except sqlite3.DatabaseError as error:
        raise BrokerError(f"nothing in {path} can be read: {error}", status=Status.DATA_LOSS) from error
    if application != BROKER.application or not 1 <= version <= BROKER.schema:
        raise BrokerError(
            f"{path} has schema {version} of application {application:x}, this fastrpc knows {BROKER.schema} of "
            f"{BROKER.application:x}",
            status=Status.FAILED_PRECONDITION,
            hint=BROKER.if_later,
        )


class _Copy:
    """Copies rows, and counts damaged rows."""

    def __init__(self, source: sqlite3.Connection, target: sqlite3.Connection) -> None:
        self._source = source
        self._target = target
        self.damaged = 0

    def add(self, table: str, columns: int) -> None:
        """Copy all rows of a table that are readable and undamaged."""
        rows = self._by_number(table) if table in _WITH_NUMBERS else self._in_order(table)
        marks = ", ".join("?" * columns)
        self._target.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", self._whole(table, rows))  # noqa: S608

    def _whole(self, table: str, rows: Iterator[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
        for row in rows:
            if is_sound(table, row):
                yield row
            else:
                self.damaged += 1

    def _in_order(self, table: str) -> Iterator[tuple[Any, ...]]:
        try:
            yield from self._source.execute(f"SELECT * FROM {table}")  # noqa: S608
        except sqlite3.DatabaseError:
            self.damaged += 1

    def _by_number(self, table: str) -> Iterator[tuple[Any, ...]]:
        """Yield rows in the order of their numbers. After a damaged page, continue with the next readable number."""
        number, misses = -1, 0
        while misses < _LOOKED_AT:
            try:
                rows = self._source.execute(
                    f"SELECT rowid, * FROM {table} NOT INDEXED WHERE rowid > ? ORDER BY rowid",  # noqa: S608
                    (number,),
                )
                for row in rows:
                    number, misses = row[0], 0
                    yield row[1:]
                return
            except sqlite3.DatabaseError:
                self.damaged += not misses
                number += 1
                misses += 1

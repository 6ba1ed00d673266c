"""The journal of a broker in a folder."""

import itertools
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Final

from fastrpc.brokers.embedded import KeptBroker, KeptChanges
from fastrpc.brokers.local.records import Change, MessagesAppended, Record
from fastrpc.brokers.sqlite.reading import BrokerReader, read_bodies, read_ids, read_records
from fastrpc.brokers.sqlite.tables import BROKER, BrokerTables
from fastrpc.brokers.sqlite.writing import BrokerWriter
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from fastrpc.stores.sqlite.folder import SqliteFolder, Sync

__all__ = ["SqliteBrokerJournal"]

#: Seconds after which changes other than messages are written again if the disk was full.
_AGAIN_SECONDS: Final = 1.0


class SqliteBrokerJournal:
    """A journal of a broker in a folder, which one process at a time may use. One thread calls it.

    Args:
        place: the folder; it is created if it is missing, with mode 0700. Other users must not have access to it.
        sync: "full" keeps commits across a power loss, "normal" only across the end of the process.
        clock: the clock of the broker.
        wall: returns the time of day in seconds since 1970.

    Raises:
        ConfigError: `sync` is unknown, or SQLite is older than 3.35.
    """

    def __init__(
        self,
        place: Path,
        *,
        sync: Sync = "full",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.folder = SqliteFolder(place, BrokerTables(), sync=sync)
        self._clock = clock
        self._wall = wall
        self._writer = BrokerWriter(clock, wall)
        self._closes = threading.Event()

    def open(self) -> KeptBroker:
        """Open the file; return its content, without the bodies of messages. BrokerError: the file is unusable."""
        kept = self.folder.open(self._read)
        self.folder.read(self._writer.open)
        return kept

    def _read(self, connection: sqlite3.Connection) -> KeptBroker:
        try:
            return BrokerReader(connection, self._clock(), self._wall()).read()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise BROKER.damaged(self.folder.path, f"a row cannot be: {error}") from error
        except sqlite3.OperationalError as error:
            if hasattr(error, "sqlite_errorcode"):
                raise
            # Python's sqlite3 raises this if a text is not UTF-8.
            raise BROKER.damaged(self.folder.path, str(error)) from error

    def commit(self, batch: Sequence[KeptChanges]) -> None:
        """Write changes.

        Raises:
            BrokerError: RESOURCE_EXHAUSTED: the disk is full; all changes are kept except the messages.
        """
        size = sum(one.size for one in batch)
        try:
            self._commit(list(itertools.chain.from_iterable(one.changes for one in batch)), size)
        except BrokerError as error:
            if error.status is not Status.RESOURCE_EXHAUSTED:
                raise
            self._keep_rest(batch)
            raise

    def read(self, topic: str, numbers: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        """Return the existing messages of a topic with these numbers, in order, and the numbers of damaged messages."""
        known = self._writer.topic(topic)
        return self.folder.read(lambda connection: read_records(connection, known, numbers))

    def read_ids(self, topic: str, first: int, last: int) -> Mapping[str, int]:
        """Return the numbers of existing, undamaged messages of a topic, by id. BrokerError: DATA_LOSS."""
        try:
            known = self._writer.topic(topic)
            return self.folder.read(lambda connection: read_ids(connection, known, first, last))
        except sqlite3.DatabaseError as error:
            raise BROKER.damaged(self.folder.path, str(error)) from error

    def read_letters(self, group: str, numbers: Collection[int]) -> Mapping[int, bytes]:
        """Return the bodies of existing, undamaged dead letters, by number. BrokerError: DATA_LOSS."""
        reader = self._writer.group(group)
        if reader is None:
            return {}
        try:
            return self.folder.read(lambda connection: read_bodies(connection, reader, numbers))
        except sqlite3.DatabaseError as error:
            raise BROKER.damaged(self.folder.path, str(error)) from error

    def stop_waiting(self) -> None:
        """Stop waiting for disk space. Any thread may call it."""
        self._closes.set()

    def close(self) -> None:
        """Close the file; closing it twice is fine."""
        self.folder.close()

    def room(self) -> int:
        """Return the free bytes of the disk. Any thread may call it."""
        return self.folder.room()

    def file_bytes(self) -> int:
        """Return the size of the file and its log in bytes. Any thread may call it."""
        return self.folder.file_bytes()

    def _commit(self, changes: Sequence[Change], size: int) -> None:
        writer = self._writer
        count = sum(len(change.records) for change in changes if type(change) is MessagesAppended)
        try:
            self.folder.commit(
                lambda connection: writer.write(connection, changes),
                number=writer.latest + count,
                size=size,
                is_single=writer.is_single(changes),
            )
        except BrokerError:
            # Open the writer again: its state includes changes that were rolled back.
            self.folder.read(writer.open)
            raise
        writer.latest += count

    def _keep_rest(self, batch: Sequence[KeptChanges]) -> None:
        """Write all changes except messages. Wait until the disk has space for them."""
        changes = [change for one in batch for change in one.changes if type(change) is not MessagesAppended]
        while not self._closes.is_set():
            try:
                self._commit(changes, 0)
            except BrokerError as error:
                if error.status is not Status.RESOURCE_EXHAUSTED:
                    raise
                self._closes.wait(_AGAIN_SECONDS)
            else:
                for one in batch:
                    one.has_rest = True
                return

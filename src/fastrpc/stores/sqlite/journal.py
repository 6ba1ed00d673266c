"""The journal of a store in a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from fastrpc.stores.base import ItemChange, LeaseChange, Saved
from fastrpc.stores.sqlite.folder import SqliteFolder, Sync
from fastrpc.stores.sqlite.tables import StoreTables, read_saved, write_changes

__all__ = ["SqliteJournal"]


class SqliteJournal:
    """A `Journal` in a folder that one process at a time uses.

    Args:
        folder: the folder; it is created if it is missing, with mode 0700. Other users must not have access to it.
        sync: "full" keeps commits across a power loss, "normal" only across the end of the process. If the store was
            not closed, the next opening raises the revision, and after "normal" it also drops the history.

    Raises:
        ConfigError: `sync` is unknown, or SQLite is older than 3.35.
    """

    def __init__(self, folder: str | os.PathLike[str], *, sync: Sync = "full") -> None:
        self.folder = SqliteFolder(Path(folder), StoreTables(), sync=sync)

    def open(self) -> Saved:
        return self.folder.open(read_saved)

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        items = [change for change in changes if isinstance(change, ItemChange)]
        latest = max((change.revision for change in items), default=0)
        self.folder.commit(
            lambda connection: write_changes(connection, changes, latest, compacted),
            number=latest,
            size=sum(len(change.item.value) for change in items if change.item),
        )

    def close(self) -> None:
        self.folder.close()

    def room(self) -> int:
        return self.folder.room()

    def file_bytes(self) -> int:
        """Return the size of the file and its log in bytes. Any thread may call it."""
        return self.folder.file_bytes()

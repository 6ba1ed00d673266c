"""The snapshot file of a registry's records. It is read at the start and written after changes."""

import asyncio
import logging
import os
import time
from pathlib import Path

from fastrpc.coordination.registry.background import TaskFailures
from fastrpc.coordination.registry.snapshot import Fault, encode_snapshot, read_snapshot
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.errors import StoreError
from fastrpc.stores.memory import MemoryStore

__all__ = ["SavedRecords"]

logger = logging.getLogger("fastrpc.registry")

#: Leases last at least this many seconds after a restart, so that every server can renew in time.
GRACE_SECONDS = 15.0

#: SNAPSHOT_SECONDS: seconds between a change and its snapshot, and between two snapshots. After a slow snapshot the
#: pause is longer: SNAPSHOT_REST times its duration.
SNAPSHOT_SECONDS = 0.5
SNAPSHOT_REST = 4.0

#: Records that are restored in one iteration of the loop.
RESTORED_AT_ONCE = 500

#: Most records that are logged singly if they cannot be restored.
MOST_LOGGED = 100


class SavedRecords:
    """Keeps the records of a store across restarts, in a folder that only this registry may use.

    Raises:
        OSError: the folder cannot be created.
    """

    def __init__(self, store: MemoryStore, data_dir: str | os.PathLike[str]) -> None:
        self._store = store
        self._file = SnapshotFile(Path(data_dir) / "registry.json")
        self._saved_revision = 0

    async def open(self) -> None:
        """Lock the folder, and restore the saved records.

        Raises:
            StoreError: another registry holds the folder.
        """
        self._file.claim()
        try:
            await self._restore()
        except BaseException:
            self._file.release()
            raise

    async def close(self) -> None:
        """Write the latest changes, and release the folder."""
        try:
            await self._save()
        finally:
            self._file.release()

    async def keep_saved(self) -> None:
        """Write a snapshot after changes, until this is cancelled."""
        failures = TaskFailures("a restart may lose the records in memory")
        pause = SNAPSHOT_SECONDS
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            with failures.logged():
                await self._save()
            pause = max(SNAPSHOT_SECONDS, SNAPSHOT_REST * (time.monotonic() - begun))

    async def _restore(self) -> None:
        """Restore the saved records; log the records that cannot be restored."""
        if self._store.revision:
            return  # Entered before, so it still holds its records.
        try:
            found = await asyncio.to_thread(self._file.read, lambda opened: read_snapshot(opened.readline))
        except StoreError as error:
            kept = self._file.set_aside()
            logger.error(
                "the snapshot cannot be read: it is kept as %s, and no record is restored: %s", kept, error
            )
            return
        if found is None:
            return
        items, faults = found
        for number, item in enumerate(items, 1):
            try:
                self._store.restore(item, GRACE_SECONDS)
            except StoreError as error:
                faults.append(Fault(f"{item.folder} at {item.key}", error.message))
            if number % RESTORED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for fault in faults[:MOST_LOGGED]:
            logger.error("%s is not restored: %s", fault.name, fault.reason)
        if len(faults) > MOST_LOGGED:
            logger.error("%d more records are not restored", len(faults) - MOST_LOGGED)
        self._saved_revision = self._store.revision

    async def _save(self) -> None:
        """Write all records in another thread. The loop only copies a table of references."""
        revision = self._store.revision
        if revision == self._saved_revision:
            return
        pieces = encode_snapshot(self._store.save())
        if await asyncio.to_thread(self._file.write, pieces, revision):
            self._saved_revision = revision

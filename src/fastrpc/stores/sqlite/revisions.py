"""The second file of a store: revisions that its commits may have been given, so that none comes twice.

    0    the greatest revision that a commit may have, synced before that commit
    512  the latest revision that was acknowledged; it is not synced

A revision is acknowledged after the sync of its commit: a store with an earlier one has lost commits. It goes on behind
the greatest revision then. Each record has a sector, which a disk writes whole.
"""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from fastrpc.replaced_file import replaced_file
from fastrpc.stores.sqlite.file import damaged, sync_path

__all__ = ["RevisionsFile"]

_SECTOR_BYTES: Final = 512

#: "frpc", the place of the record, the revision, and whether commits are not synced; the CRC-32 follows.
_RECORD: Final = struct.Struct("<4sHQ?")
_SUM: Final = struct.Struct("<I")
_NAME: Final = b"frpc"

#: How many revisions are reserved at once.
_BLOCK: Final = 1 << 20


class RevisionsFile:
    """Keeps the greatest revision that may have been given, and the latest one that was acknowledged.

    Attributes:
        path: the file; `open` makes it.
        reserved: the greatest revision of the present block; 0 without a file.
        acknowledged: commits up to this revision were synced.
        is_unsynced: whether commits of the last journal were not synced.
    """

    def __init__(self, path: Path) -> None:
        self.reserved = self.acknowledged = 0
        self.is_unsynced = False
        self.path = path
        self._descriptor: int | None = None

    def read(self) -> bool:
        """Read the file; return whether it is there.

        Raises:
            StoreError: it is damaged.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return False
        self.reserved, self.is_unsynced = self._record(content, 0)
        self.acknowledged, _ = self._record(content, 1)
        return True

    def open(self) -> None:
        """Open the file, made if it is missing, for what follows."""
        if not self.path.exists():
            with replaced_file(self.path, buffering=0) as file:
                file.write(_record(0, self.reserved, self.is_unsynced).ljust(_SECTOR_BYTES, b"\0"))
                file.write(_record(1, self.acknowledged))
                os.fsync(file.fileno())
            sync_path(self.path.parent)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def begin(self, *, is_unsynced: bool) -> None:
        """Note whether commits from here on are not synced; all commits before are."""
        if is_unsynced != self.is_unsynced:
            self.is_unsynced = is_unsynced
            self._reserve(self.reserved)

    def cover(self, revision: int) -> None:
        """Reserve a block if a commit needs it."""
        if revision > self.reserved:
            self._reserve(revision + _BLOCK)

    def acknowledge(self, revision: int) -> None:
        """Note that a revision is on the disk."""
        if revision > self.acknowledged and not self.is_unsynced:
            self.acknowledged = revision
            self._write(1, revision)

    def close(self) -> None:
        """Close the file; closing it twice is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _reserve(self, revision: int) -> None:
        self._write(0, revision, self.is_unsynced)
        assert self._descriptor is not None
        os.fsync(self._descriptor)
        self.reserved = revision

    def _write(self, place: int, revision: int, is_unsynced: bool = False) -> None:
        assert self._descriptor is not None
        os.pwrite(self._descriptor, _record(place, revision, is_unsynced), place * _SECTOR_BYTES)

    def _record(self, content: bytes, place: int) -> tuple[int, bool]:
        """Return revision and flag of a record."""
        at = place * _SECTOR_BYTES
        record = content[at : at + _RECORD.size]
        with contextlib.suppress(struct.error):
            (told,) = _SUM.unpack_from(content, at + _RECORD.size)
            name, own_place, revision, is_unsynced = _RECORD.unpack(record)
            if (name, own_place, told) == (_NAME, place, zlib.crc32(record)):
                return revision, is_unsynced
        raise damaged(self.path, "a checksum is wrong")


def _record(place: int, revision: int, is_unsynced: bool = False) -> bytes:
    record = _RECORD.pack(_NAME, place, revision, is_unsynced)
    return record + _SUM.pack(zlib.crc32(record))

"""The second file of a folder. It reserves the numbers of commits, so that no number is used twice.

    0    the greatest number that a commit may have, which is synced before that commit; whether the folder was closed
         cleanly; the progress of an opening
    512  the latest acknowledged number, and the number of commits in the present log; this record is not synced

A commit is acknowledged after its sync, so a file with fewer commits than the acknowledged number has lost commits. A
power cut may leave an outdated record of acknowledged commits. So a folder that was not closed continues after the
greatest number. Each record has a separate sector, which a disk writes as a whole. The numbers of a store are its
revisions.
"""

import contextlib
import os
import struct
import zlib
from pathlib import Path
from typing import Final

from fastrpc.replaced_file import replaced_file
from fastrpc.stores.sqlite.file import FileKind, sync_path
from fastrpc.stores.sqlite.log import NO_SALTS

__all__ = ["NumbersFile"]

_SECTOR_BYTES: Final = 512

#: _RECORD: "frpc", the offset of the record, a number, flags, the salts of a log, the number of its commits. _SUM: the
#: CRC-32 that follows.
_RECORD: Final = struct.Struct("<4sHQB8sQ")
_SUM: Final = struct.Struct("<I")
_NAME: Final = b"frpc"

_IS_UNSYNCED: Final = 1
_IS_CLEAN: Final = 2
_HAS_LOST: Final = 4
_IS_EMPTIED: Final = 8

#: The number of numbers in a reserved block.
_BLOCK: Final = 1 << 20


class NumbersFile:
    """The file with the reserved numbers, the acknowledged commits, and the state of the folder.

    Attributes:
        path: the path of the file, which `open` creates.
        reserved: the greatest number of the reserved block; 0 without a file.
        acknowledged: the greatest acknowledged number.
        salts: the salts of the log with the last commit.
        commits: the number of acknowledged commits of that log.
        is_unsynced: True if commits were not synced when the folder was last open.
        is_clean: True if the folder was closed with all commits in its file.
        has_lost: True if an opening that was interrupted has found acknowledged commits missing.
        is_emptied: True if an opening that was interrupted started to empty the log, or found no log after a clean
            close.
    """

    def __init__(self, folder: Path, kind: FileKind) -> None:
        self.reserved = self.acknowledged = self.commits = 0
        self.salts = NO_SALTS
        self.is_unsynced = self.is_clean = self.has_lost = self.is_emptied = False
        self.path = folder / kind.numbers_file
        self._kind = kind
        self._descriptor: int | None = None

    def read(self) -> bool:
        """Read the file; return whether it exists.

        Raises:
            FastRPCError: of the kind's class: the file is damaged.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return False
        self.reserved, flags, _, _ = self._record(content, 0)
        self.is_unsynced, self.is_clean = bool(flags & _IS_UNSYNCED), bool(flags & _IS_CLEAN)
        self.has_lost, self.is_emptied = bool(flags & _HAS_LOST), bool(flags & _IS_EMPTIED)
        self.acknowledged, _, self.salts, self.commits = self._record(content, 1)
        return True

    def open(self) -> None:
        """Open the file for writing; create it if it is missing."""
        if not self.path.exists():
            with replaced_file(self.path, buffering=0) as file:
                file.write(_record(0, self.reserved, self._flags()).ljust(_SECTOR_BYTES, b"\0"))
                file.write(_record(1, self.acknowledged, 0, self.salts, self.commits))
                os.fsync(file.fileno())
            sync_path(self.path.parent)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def note(self, *, is_unsynced: bool, is_clean: bool = False) -> None:
        """Record whether later commits are unsynced, and whether the file has all commits; sync the record."""
        self._set(is_unsynced, is_clean, has_lost=False, is_emptied=False)

    def note_opening(self, *, is_unsynced: bool, has_lost: bool, is_emptied: bool) -> None:
        """Record the findings of an opening, until the next `note`; sync the record."""
        self._set(is_unsynced, False, has_lost=has_lost, is_emptied=is_emptied)

    def cover(self, number: int) -> None:
        """Reserve a further block if a commit with this number needs it."""
        if number > self.reserved:
            self._reserve(number + _BLOCK)

    def acknowledge(self, number: int, salts: bytes, commits: int) -> None:
        """Record the last commit: its number, and the number of commits in its log. The record is not synced."""
        self.acknowledged = max(self.acknowledged, number)
        self.salts, self.commits = salts, commits
        self._write(_record(1, self.acknowledged, 0, salts, commits), 1)

    def sync(self) -> None:
        """Sync the record of acknowledged commits."""
        assert self._descriptor is not None
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; closing it twice is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _set(self, is_unsynced: bool, is_clean: bool, *, has_lost: bool, is_emptied: bool) -> None:
        flags = self._flags()
        self.is_unsynced, self.is_clean = is_unsynced, is_clean
        self.has_lost, self.is_emptied = has_lost, is_emptied
        if flags != self._flags():
            self._reserve(self.reserved)

    def _reserve(self, number: int) -> None:
        self._write(_record(0, number, self._flags()), 0)
        self.sync()
        self.reserved = number

    def _flags(self) -> int:
        found = _IS_UNSYNCED * self.is_unsynced | _IS_CLEAN * self.is_clean
        return found | _HAS_LOST * self.has_lost | _IS_EMPTIED * self.is_emptied

    def _write(self, record: bytes, place: int) -> None:
        assert self._descriptor is not None
        os.pwrite(self._descriptor, record, place * _SECTOR_BYTES)

    def _record(self, content: bytes, place: int) -> tuple[int, int, bytes, int]:
        """Return the number, flags, salts and number of commits in a record."""
        at = place * _SECTOR_BYTES
        record = content[at : at + _RECORD.size]
        with contextlib.suppress(struct.error):
            (told,) = _SUM.unpack_from(content, at + _RECORD.size)
            name, own_place, number, flags, salts, commits = _RECORD.unpack(record)
            if (name, own_place, told) == (_NAME, place, zlib.crc32(record)):
                return number, flags, salts, commits
        raise self._kind.damaged(self.path, "a checksum is wrong")


def _record(place: int, number: int, flags: int, salts: bytes = NO_SALTS, commits: int = 0) -> bytes:
    record = _RECORD.pack(_NAME, place, number, flags, salts, commits)
    return record + _SUM.pack(zlib.crc32(record))

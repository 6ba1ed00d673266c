"""The second file of a folder: numbers that its commits may have, so that none is repeated.

    0    the greatest number that a commit may have, synced before that commit; whether the folder was closed cleanly;
         how far an opening came
    512  the latest number that was acknowledged, and the commits of the present log; it is not synced

A commit is acknowledged after its sync: a file with fewer commits than were acknowledged has lost some. A power cut may
leave an older record of the acknowledged commits, so a folder that was not closed continues after the greatest number.
Each record has its sector, which a disk writes whole. The numbers of a store are its revisions.
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

#: "frpc", the place of the record, a number, flags, the salts of a log, and its commits; the CRC-32 follows.
_RECORD: Final = struct.Struct("<4sHQB8sQ")
_SUM: Final = struct.Struct("<I")
_NAME: Final = b"frpc"

_IS_UNSYNCED: Final = 1
_IS_CLEAN: Final = 2
_HAS_LOST: Final = 4
_IS_EMPTIED: Final = 8

#: Numbers that are reserved at once.
_BLOCK: Final = 1 << 20


class NumbersFile:
    """Keeps the greatest number that may be assigned, the acknowledged commits, and whether the end was clean.

    Attributes:
        path: the file; `open` makes it.
        reserved: the greatest number of the present block; 0 without a file.
        acknowledged: commits up to this number were acknowledged.
        salts: the salts of the log that has the last commit.
        commits: how many commits of that log were acknowledged.
        is_unsynced: whether commits were not synced when the folder was last open.
        is_clean: whether the folder was closed, with all commits in its file.
        has_lost: whether an opening that did not end found acknowledged commits missing.
        is_emptied: whether an opening that did not end began to empty the log, or found no log after a clean end.
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
        """Open the file, made if it is missing, for later notes."""
        if not self.path.exists():
            with replaced_file(self.path, buffering=0) as file:
                file.write(_record(0, self.reserved, self._flags()).ljust(_SECTOR_BYTES, b"\0"))
                file.write(_record(1, self.acknowledged, 0, self.salts, self.commits))
                os.fsync(file.fileno())
            sync_path(self.path.parent)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)

    def note(self, *, is_unsynced: bool, is_clean: bool = False) -> None:
        """Note whether later commits are unsynced, and whether the file has all commits; sync the note."""
        self._set(is_unsynced, is_clean, has_lost=False, is_emptied=False)

    def note_opening(self, *, is_unsynced: bool, has_lost: bool, is_emptied: bool) -> None:
        """Note what an opening has found, until the next `note`; sync the note."""
        self._set(is_unsynced, False, has_lost=has_lost, is_emptied=is_emptied)

    def cover(self, number: int) -> None:
        """Reserve a block if a commit needs it."""
        if number > self.reserved:
            self._reserve(number + _BLOCK)

    def acknowledge(self, number: int, salts: bytes, commits: int) -> None:
        """Note the last commit: its number, and how many commits its log has."""
        self.acknowledged = max(self.acknowledged, number)
        self.salts, self.commits = salts, commits
        self._write(_record(1, self.acknowledged, 0, salts, commits), 1)

    def sync(self) -> None:
        """Sync the acknowledged commits."""
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
        """Return number, flags, salts and commits of a record."""
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

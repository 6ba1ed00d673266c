"""Check the write-ahead log of a file before SQLite opens it.

SQLite reads a log up to the first bad frame and silently drops later frames. It must do so, since a power cut may tear
the last transaction. But if a later transaction follows a bad frame, the log is damaged. The last frame of a
transaction has the size of the database in pages. A transaction has each page once, in the order of page numbers. The
format: https://www.sqlite.org/walformat.html.

    header (32 bytes): magic, version, page size, number; salts; checksum
    frame: page number, pages of the database or 0; the salts of the header; checksum; the page

The checksum of a frame continues from the checksum of the previous frame. A restarted log has other salts, and frames
of the previous log may follow its frames.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from fastrpc._core.base.log_sum import log_sum

__all__ = ["NO_SALTS", "SALTS_AT", "LogEnd", "read_log"]

_HEADER: Final = struct.Struct(">4I8s2I")
_FRAME: Final = struct.Struct(">2I8s2I")

#: The offset of the salts in the header.
SALTS_AT: Final = 16

#: The magic number of a log with little-endian checksums. This number plus 1 means big-endian checksums.
_MAGIC: Final = 0x377F0682

#: The salts that stand for a missing log.
NO_SALTS: Final = bytes(8)

#: The page sizes of SQLite.
_PAGES: Final = frozenset(1 << power for power in range(9, 17))

#: The greatest page number.
_LAST_PAGE: Final = (1 << 32) - 1

#: Bytes that are read in one step.
_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogEnd:
    """Where SQLite stops reading a log, and which frames of the same log follow.

    Attributes:
        frames: the number of good frames before the first bad frame.
        has_bad_header: True if the header is bad, so that SQLite drops all frames.
        later: the number of frames of the same log after the first bad frame.
        later_commits: the number of good frames among these that end a commit.
        is_before_commit: True if one of these commits is later than the commit with the bad frame.
        commits: the number of good commits before the first bad frame.
        is_torn: True if the log ends with a bad frame of the same log, with a part of a frame, or within a commit.
        salts: the salts of the log; zeros without a log.
    """

    frames: int = 0
    has_bad_header: bool = False
    later: int = 0
    later_commits: int = 0
    is_before_commit: bool = False
    commits: int = 0
    is_torn: bool = False
    salts: bytes = NO_SALTS

    @property
    def has_salts(self) -> bool:
        """True if there is a log."""
        return self.salts != NO_SALTS

    @property
    def is_bad(self) -> bool:
        """True if SQLite drops frames of this log after the last good commit."""
        return self.is_torn or self.later > 0


def read_log(path: Path) -> LogEnd:
    """Read a log and return its end. A missing or empty log has no frames."""
    try:
        with open(path, "rb") as file:
            return _read(file)
    except FileNotFoundError:
        return LogEnd()


def _read(file: BufferedReader) -> LogEnd:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return LogEnd()
    magic, _, page_bytes, _, salts, *told = _HEADER.unpack(header)
    is_big = magic == _MAGIC + 1
    sums = log_sum(header[:24], 0, 0, is_big=is_big)
    if magic & ~1 != _MAGIC or page_bytes not in _PAGES or list(sums) != told:
        # The header is synced before the first frame, so frames without a header mean damage.
        return LogEnd(has_bad_header=bool(file.read(1)))
    frame_bytes = _FRAME.size + page_bytes
    is_cut = (os.fstat(file.fileno()).st_size - _HEADER.size) % frame_bytes > 0
    return _end_of(_frames(file, frame_bytes), salts, sums, is_big=is_big, is_cut=is_cut)


def _end_of(
    frames: Iterator[memoryview], salts: bytes, sums: tuple[int, int], *, is_big: bool, is_cut: bool
) -> LogEnd:
    """Return the end of a log with these salts and this checksum of the header.

    Args:
        is_cut: whether a part of a frame follows the frames. It belongs to the same log as the last whole frame.
    """
    good = later = commits = later_commits = 0
    is_ended = is_torn = is_other = is_before_commit = False
    is_own = True
    # The page number of the previous frame if both frames belong to one commit, in which page numbers rise; else 0.
    last_page = 0
    for frame in frames:
        page, pages, own_salts, *told = _FRAME.unpack_from(frame)
        is_own = _are_of_one_log(own_salts, salts)
        # A page number that does not rise starts a new commit, which is not the commit with the bad frame.
        is_other |= is_ended and is_own and page <= last_page
        if own_salts != salts:
            if not is_ended and not is_own and last_page == _LAST_PAGE:
                # A power cut may have lost the first frame of the last commit. The next frames then belong to this
                # commit.
                last_page = 0
            is_ended = True
        else:
            # Continue from the checksum that the previous frame states, good or bad, so that good frames after a bad
            # frame are recognized, too.
            found = _frame_sum(frame, sums, is_big=is_big)
            is_good = page != 0 and list(found) == told
            sums = (told[0], told[1])
            if is_ended:
                later += 1
                later_commits += is_good and pages != 0
                is_before_commit |= is_other and is_good and pages != 0
            elif is_good:
                good += 1
                commits += pages != 0
            else:
                is_ended = True
        if is_own:
            is_torn = is_ended or pages == 0
            # After the end of a commit, the next commit may start with any page.
            last_page = _LAST_PAGE if pages != 0 else page
    is_torn |= is_cut and is_own
    return LogEnd(good, False, later, later_commits, is_before_commit, commits, is_torn, bytes(salts))


def _are_of_one_log(one: bytes, other: bytes) -> bool:
    """Return whether salts belong to the same log: another log differs in both halves, a flipped bit only in one."""
    return one[:4] == other[:4] or one[4:] == other[4:]


def _frame_sum(frame: memoryview, sums: tuple[int, int], *, is_big: bool) -> tuple[int, int]:
    """Return the checksum of a frame. `sums` is the checksum of the previous frame."""
    found = log_sum(frame[:8], *sums, is_big=is_big)
    return log_sum(frame[_FRAME.size :], *found, is_big=is_big)


def _frames(file: BufferedReader, size: int) -> Iterator[memoryview]:
    """Yield each whole frame. The view is valid until the next frame is requested."""
    buffer = memoryview(bytearray(max(_READ_BYTES // size, 1) * size))
    while (count := file.readinto(buffer)) >= size:
        for at in range(0, count - size + 1, size):
            yield buffer[at : at + size]

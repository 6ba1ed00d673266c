"""The write-ahead log of a store, read before SQLite opens it.

SQLite ends a log at its first bad frame and drops the frames behind it silently: so it must, as a power cut tears the
last transaction. A bad frame before whole transactions is damage. The format: https://www.sqlite.org/walformat.html.

    header (32 bytes): magic, version, page size, number; salts; checksum
    frame: page, pages after a commit or 0; the salts of the header; checksum; the page

The checksum of a frame goes on from the frame before it. A log that was begun anew has other salts; frames of the log
before it lie behind the frames of the present one.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Final

from fastrpc._core.base.log_sum import log_sum

__all__ = ["LogEnd", "read_log"]

_HEADER: Final = struct.Struct(">4I8s2I")
_FRAME: Final = struct.Struct(">2I8s2I")

#: The magic of a log with little-endian checksums; the next number is the magic of one with big-endian checksums.
_MAGIC: Final = 0x377F0682

#: Page sizes of SQLite.
_PAGES: Final = frozenset(1 << power for power in range(9, 17))

#: Bytes that are read at once.
_READ_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of the frames that SQLite takes from a log, and the frames of the same log behind it.

    Attributes:
        frames: how many frames are good, from the first one on.
        has_bad_header: SQLite drops all frames.
        later: how many frames of the same log follow the first bad one.
        later_commits: how many whole commits are among them.
    """

    frames: int = 0
    has_bad_header: bool = False
    later: int = 0
    later_commits: int = 0


def read_log(path: Path) -> LogEnd:
    """Return where a log ends; a missing or empty one has no frames."""
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
        # It is synced before the first frame.
        return LogEnd(has_bad_header=bool(file.read(1)))
    good = later = commits = 0
    is_ended = False
    for frame in _frames(file, _FRAME.size + page_bytes):
        page, pages, own_salts, *told = _FRAME.unpack_from(frame)
        if own_salts != salts:
            is_ended = True
            continue
        # From the frame before it, good or bad: behind a bad frame the whole ones are told from torn ones, too.
        found = log_sum(frame[:8], *sums, is_big=is_big)
        found = log_sum(frame[_FRAME.size :], *found, is_big=is_big)
        is_good = page != 0 and list(found) == told
        sums = (told[0], told[1])
        if is_ended:
            later += 1
            commits += is_good and pages != 0
        elif is_good:
            good += 1
        else:
            is_ended = True
    return LogEnd(good, False, later, commits)


def _frames(file: BufferedReader, size: int) -> Iterator[memoryview]:
    """Yield each whole frame; the view is valid until the next one."""
    buffer = memoryview(bytearray(max(_READ_BYTES // size, 1) * size))
    while (count := file.readinto(buffer)) >= size:
        for at in range(0, count - size + 1, size):
            yield buffer[at : at + size]

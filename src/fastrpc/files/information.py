"""The information that a file service returns about files."""

import os
import stat
from dataclasses import dataclass

__all__ = ["FileDigest", "FileInfo", "info_of", "version_of"]


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or a folder of a file service.

    Attributes:
        path: the name, relative to the root of the service.
        size: the size in bytes; 0 for a folder.
        modified: the time of the last change, in seconds since 1970.
        is_directory: True for a folder.
        version: a text that changes with the content.
    """

    path: str
    size: int
    modified: float
    is_directory: bool
    version: str


@dataclass(frozen=True, slots=True)
class FileDigest:
    """The size of a whole file, and its SHA-256 in hexadecimal digits."""

    size: int
    sha256: str


def version_of(status: os.stat_result) -> str:
    """Return a text that changes when the file is written or replaced."""
    return f"{status.st_mtime_ns}-{status.st_size}-{status.st_ino}"


def info_of(path: str, status: os.stat_result) -> FileInfo:
    """Describe a file or a folder."""
    is_directory = stat.S_ISDIR(status.st_mode)
    return FileInfo(
        path=path,
        size=0 if is_directory else status.st_size,
        modified=status.st_mtime,
        is_directory=is_directory,
        version=version_of(status),
    )

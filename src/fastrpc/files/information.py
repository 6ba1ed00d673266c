"""Files as a file service describes them."""

import os
import stat
from dataclasses import dataclass

__all__ = ["FileDigest", "FileInfo", "info_of", "version_of"]


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file or a folder of a file service.

    Attributes:
        path: its name, relative to the root of the service.
        size: bytes; 0 for a folder.
        modified: seconds since 1970.
        is_directory: whether it is a folder.
        version: changes with the content.
    """

    path: str
    size: int
    modified: float
    is_directory: bool
    version: str


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and SHA-256, in hexadecimal digits, of a whole file."""

    size: int
    sha256: str


def version_of(status: os.stat_result) -> str:
    """Return a text that changes when a file is written or replaced."""
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

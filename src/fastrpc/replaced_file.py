"""Atomic replacement of a file: a reader sees either the old or the new content."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["replaced_file"]


@contextlib.contextmanager
def replaced_file(path: Path, *, buffering: int = -1) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` at the end of the block.

    Until then the new file has a temporary name in the same folder, and only its owner can read it. After an error the
    temporary file is removed, and the old content stays. If the content has to survive a power loss, end the block with
    `os.fsync` of the file, and sync the folder after the block.

    Args:
        buffering: as for `open`; 0 writes each piece immediately.

    Raises:
        OSError: the file cannot be written or renamed.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb", buffering=buffering) as file:
            yield file
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise

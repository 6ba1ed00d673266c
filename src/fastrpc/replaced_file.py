"""A file that is replaced as a whole: a reader sees the old content or the new one."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["replaced_file"]


@contextlib.contextmanager
def replaced_file(path: Path, *, buffering: int = -1) -> Iterator[BinaryIO]:
    """Yield a file to write to, which takes the place of another one, or of none, at the end of the block.

    It has a temporary name in the same folder until then, and is readable for its owner alone. After an error it is
    removed, and the old content stays. A content that is to outlast a power loss needs `os.fsync` in the block.

    Args:
        buffering: as `open` has it; 0 writes each piece at once.

    Raises:
        OSError: the folder or the disk does not take it.
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

"""A file that is being written: `<name>.fastrpc-part`, until it is complete and gets its final name.

::

    open: claim it ──► start_at: an offset ──► hash_on: the part kept ──► write … ──► finish ──► close

The claim is a file lock on the partial file. So it also excludes other processes, and ends with the process of its
holder. The content is synced before the file gets its final name, and the name is synced before `finish` returns. So a
file with the final name is complete, even after a power loss. A partial file may lose unsynced bytes in a power loss,
which the check of the digest detects.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Callable, Sequence

from fastrpc.files.hashing import Digests, FileHash
from fastrpc.files.information import FileDigest
from fastrpc.files.names import PART_SUFFIX
from fastrpc.files.refusals import changed
from fastrpc.files.root import RootPlace, check_regular
from fastrpc.files.write_behind import Piece

__all__ = ["PartialFile"]

#: Attempts to open and lock a partial file that other writers replace in between.
CLAIM_ATTEMPTS = 10

#: Permissions of a new file, before the umask. A file that is replaced keeps its permissions.
NEW_MODE = 0o666
_PERMISSIONS = 0o777

#: Up to this number, pieces are written singly. More pieces are joined first, as they are short.
_FEW_PIECES = 64

# Errors of folders that cannot be synced: they are not readable, or the file system does not support it.
_NO_SYNC = {errno.EACCES, errno.EINVAL}


class PartialFile:
    """A partial file until it gets its final name. Every method blocks; any thread may call one at a time.

    Args:
        find: returns the place of the final file; this object closes it.
        label: the name for error texts.
        digests: the cache of digests.
    """

    def __init__(self, find: Callable[[], RootPlace], label: str, digests: Digests) -> None:
        self._find = find
        self._label = label
        self._digests = digests
        self._place: RootPlace | None = None
        self._descriptor = -1
        self._is_closed = False
        self._mode: int | None = None
        self._hashing: FileHash
        #: The offset of the next piece.
        self.position = 0

    def open(self) -> int:
        """Claim the partial file, and create it if it does not exist; return its size.

        Raises:
            BlockingIOError: another writer has the file.
            CallError: the name belongs to something that is not a regular file.
        """
        if self._is_closed:
            return 0
        place = self._place = self._find()
        if place.status is not None:
            check_regular(self._label, place.status)
            self._mode = stat.S_IMODE(place.status.st_mode) & _PERMISSIONS
        for _ in range(CLAIM_ATTEMPTS):
            if self._claim(place.folder, place.name + PART_SUFFIX):
                return self.position
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def _claim(self, folder: int, part: str) -> bool:
        """Open and lock the partial file; return False if the file was replaced in between."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        mode = NEW_MODE if self._mode is None else self._mode | stat.S_IRUSR | stat.S_IWUSR
        descriptor = os.open(part, flags, mode, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            check_regular(self._label + PART_SUFFIX, status)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_named(part, folder, status):
                self._descriptor, descriptor = descriptor, -1
                self.position = os.fstat(self._descriptor).st_size
                return True
            return False
        finally:
            if descriptor >= 0:
                os.close(descriptor)

    def start_at(self, offset: int) -> None:
        """Keep only the first `offset` bytes and continue after them. `hash_on` has to hash these bytes.

        Raises:
            CallError: ABORTED: the file has fewer bytes.
        """
        status = os.fstat(self._descriptor)
        if offset > status.st_size:
            raise changed(self._label + PART_SUFFIX)
        self._hashing = FileHash(self._descriptor)
        if offset < status.st_size:
            os.ftruncate(self._descriptor, offset)
        elif (known := self._digests.find(status)) is not None:
            self._hashing.continue_with(known, offset)
        self.position = offset

    def hash_on(self) -> bool:
        """Hash the next slice of the kept bytes; return whether there is more to hash."""
        if self._hashing.advance(self.position):
            return True
        if self._hashing.position < self.position:
            raise changed(self._label + PART_SUFFIX)
        return False

    def write(self, pieces: Sequence[Piece]) -> None:
        """Append pieces."""
        for block in pieces if len(pieces) <= _FEW_PIECES else [b"".join(pieces)]:
            left = memoryview(block)
            while left:
                written = os.pwrite(self._descriptor, left, self.position)
                self.position += written
                left = left[written:]
            self._hashing.continue_by(block)

    @property
    def digest(self) -> FileDigest:
        """The size and the digest of the bytes written so far."""
        return self._hashing.digest

    def discard(self) -> None:
        """Remove all bytes, because the next writer cannot use them."""
        os.ftruncate(self._descriptor, 0)
        self.position = 0

    def finish(self) -> None:
        """Sync the file, then give it its final name."""
        assert self._place is not None
        folder, name = self._place.folder, self._place.name
        if self._mode is not None:
            os.fchmod(self._descriptor, self._mode)
        os.fsync(self._descriptor)
        os.rename(name + PART_SUFFIX, name, src_dir_fd=folder, dst_dir_fd=folder)
        self._close()
        _sync_folder(folder)

    def close(self, *, keeps: bool = True) -> None:
        """Release the claim. If `keeps` is set, the written bytes stay for the next writer."""
        self._is_closed = True
        place, self._place = self._place, None
        try:
            if self._descriptor >= 0:
                assert place is not None
                if not keeps or os.fstat(self._descriptor).st_size == 0:
                    os.unlink(place.name + PART_SUFFIX, dir_fd=place.folder)
        except FileNotFoundError:
            pass  # Another program has removed it.
        finally:
            self._close()
            if place is not None:
                place.close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _is_named(name: str, folder: int, status: os.stat_result) -> bool:
    """Return whether an open file still has its name."""
    try:
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, status)


def _sync_folder(folder: int) -> None:
    try:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=folder)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise

"""The claim of a folder by one process. The folder is private to its user, and locked against other processes.

SQLite keeps the state of a file in the process as long as a connection to it exists. A forked child inherits this
state, and nothing updates it there. A new connection in the child would use it, miss the commits of other processes
that have used the folder since, and overwrite their log. So a process never claims a folder that it has left while a
connection existed.
"""

import contextlib
import fcntl
import os
import weakref
from pathlib import Path

from fastrpc.status import Status
from fastrpc.stores.sqlite.file import FileKind, sync_path

__all__ = ["FolderClaim"]

#: The claims that this process holds.
_held: "weakref.WeakSet[FolderClaim]" = weakref.WeakSet()

#: The device and the inode of each file that was left while a connection existed.
_left: set[tuple[int, int]] = set()


class FolderClaim:
    """The claim of a folder. It lasts until it is released, or until the process ends."""

    def __init__(self, folder: Path, kind: FileKind) -> None:
        self._folder, self._kind = folder, kind
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """True if this process holds the folder."""
        return self._descriptor is not None

    def take(self) -> None:
        """Create the folder if it is missing, and lock it against other processes.

        Raises:
            FastRPCError: of the kind's class: other users have access to the folder, another process holds it, or this
                process has left it while a connection existed.
        """
        folder, kind = self._folder, self._kind
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            sync_path(path.parent)
        mode = folder.stat().st_mode & 0o777
        if mode & 0o077:
            raise kind.error(
                f"other users can enter {folder}, its mode is {mode:o}",
                status=Status.FAILED_PRECONDITION,
                hint=f"chmod 700 {folder}",
            )
        if _file_number(folder / kind.file) in _left:
            raise kind.error(
                f"{folder} was open when this process was forked, or could not be closed",
                status=Status.FAILED_PRECONDITION,
                hint="open it in a new process, or fork before it is opened",
            )
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise kind.error(
                f"another {kind.name} holds {folder}", status=Status.FAILED_PRECONDITION, hint=kind.if_held
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Close the descriptor of the lock. After a fork the parent keeps the folder, as it has a descriptor, too."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def leave(self) -> None:
        """Release the claim while a connection still exists. This process can never claim the file again."""
        if self._descriptor is not None:
            # Use the descriptor, since the folder may have been moved.
            file = _file_number(self._kind.file, self._descriptor)
            if file is not None:
                _left.add(file)
            self.release()


def _file_number(path: str | Path, folder: int | None = None) -> tuple[int, int] | None:
    """Return the device and the inode of a file, relative to a folder's descriptor; None if it is missing."""
    with contextlib.suppress(FileNotFoundError):
        found = os.stat(path, dir_fd=folder)
        return found.st_dev, found.st_ino
    return None


def _leave_claims() -> None:
    """In a forked child, close the inherited claims, so that the folders are free when the parent ends."""
    for claim in list(_held):
        claim.leave()


os.register_at_fork(after_in_child=_leave_claims)

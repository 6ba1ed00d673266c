"""The claim of a folder by one process: private to its user, and locked against other processes."""

import fcntl
import os
import weakref
from pathlib import Path

from fastrpc.status import Status
from fastrpc.stores.sqlite.file import FileKind, sync_path

__all__ = ["FolderClaim"]

#: The claims that are held.
_held: "weakref.WeakSet[FolderClaim]" = weakref.WeakSet()


class FolderClaim:
    """Holds a folder until it is released, or until the process ends."""

    def __init__(self, folder: Path, kind: FileKind) -> None:
        self._folder, self._kind = folder, kind
        self._descriptor: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this process holds the folder."""
        return self._descriptor is not None

    def take(self) -> None:
        """Make the folder, and lock it against other processes.

        Raises:
            FastRPCError: of the kind's class: other users can enter the folder, or another process holds it.
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
        """Close the descriptor of the lock. After a fork the parent has a descriptor too, and keeps the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _release_claims() -> None:
    """Close the claims that a forked child has inherited: the folders must be free when the parent ends."""
    for claim in list(_held):
        claim.release()


os.register_at_fork(after_in_child=_release_claims)

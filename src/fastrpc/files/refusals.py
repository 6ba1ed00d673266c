"""Convert system errors to errors for callers, with the name that the caller gave and no path of this machine."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from fastrpc.errors import CallError
from fastrpc.files.names import quoted
from fastrpc.status import Status

__all__ = [
    "BUSY_SECONDS",
    "changed",
    "check_client",
    "missing",
    "refused",
    "refused_by_system",
    "told_of_path",
]

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds after which a writer may retry if another writer has the file. That may be the handler of a killed caller,
#: which ends soon.
BUSY_SECONDS = 0.2

_NO_ROOM = "there is no room left for"
_NOT_ALLOWED = "the server may not do this with"

#: Errors about a name or the disk, with their status and text. All other errors are bugs of the server.
_TOLD: dict[int, tuple[Status, str]] = {
    errno.EISDIR: (Status.INVALID_ARGUMENT, "a folder has the name"),
    errno.ENAMETOOLONG: (Status.INVALID_ARGUMENT, "the file system takes no name as long as"),
    errno.EINVAL: (Status.INVALID_ARGUMENT, "the file system does not take"),
    errno.EACCES: (Status.PERMISSION_DENIED, _NOT_ALLOWED),
    errno.EPERM: (Status.PERMISSION_DENIED, _NOT_ALLOWED),
    errno.EROFS: (Status.PERMISSION_DENIED, _NOT_ALLOWED),
    errno.ENOSPC: (Status.RESOURCE_EXHAUSTED, _NO_ROOM),
    errno.EDQUOT: (Status.RESOURCE_EXHAUSTED, _NO_ROOM),
    errno.EFBIG: (Status.RESOURCE_EXHAUSTED, _NO_ROOM),
    errno.EMFILE: (Status.RESOURCE_EXHAUSTED, "the server has too many open files for"),
    errno.ENFILE: (Status.RESOURCE_EXHAUSTED, "the server has too many open files for"),
    errno.EIO: (Status.DATA_LOSS, "the disk failed at"),
}

# Errors that mean that a file is missing. ELOOP means a link that leads outside or was placed there during the walk.
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def check_client(client: object, wanted: tuple[type[Any], ...], others: str) -> None:
    """Raise an error if a client is of another type.

    Args:
        others: a text that names the module with the transfers for other types of clients.
    """
    if not isinstance(client, wanted):
        kinds = " or ".join(kind.__name__ for kind in wanted)
        raise TypeError(f"the client is of type {type(client).__name__}, it must be a {kinds}; {others}")


@contextmanager
def refused_by_system(name: str) -> Iterator[None]:
    """Convert system errors for a name to a `CallError`, without the path that they contain."""
    try:
        yield
    except BlockingIOError:
        raise CallError(
            Status.ABORTED, f"another call writes {quoted(name)}", retry_after=BUSY_SECONDS
        ) from None
    except OSError as error:
        if error.errno in _MISSING:
            raise missing(name) from None
        if error.errno not in _TOLD:
            raise
        status, text = _TOLD[error.errno]
        raise CallError(status, f"{text} {quoted(name)}") from None


def refused(name: str, job: Callable[P, T]) -> Callable[P, T]:
    """Return a job that converts its system errors by `refused_by_system`."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with refused_by_system(name):
            return job(*args, **kwargs)

    return run


def told_of_path(path: str, job: Callable[P, T]) -> Callable[P, T]:
    """Return a job on a local file whose system errors contain the path."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return job(*args, **kwargs)
        except BlockingIOError:
            raise CallError(Status.ABORTED, f"another transfer writes {path}", processed="no") from None
        except OSError as error:
            error.filename = path
            raise

    return run


def missing(name: str) -> CallError:
    """Return the error for a name that does not exist or leads out of the root."""
    # The text depends only on the name, so that callers cannot learn whether the target of a link outside exists.
    folder = ", or no folder for it" if "/" in name else ""
    return CallError(Status.NOT_FOUND, f"there is no {quoted(name)}{folder}")


def changed(name: str) -> CallError:
    """Return the error for a file that has changed."""
    return CallError(Status.ABORTED, f"{quoted(name)} has changed; begin anew")

"""The folder with the sockets and the records of this user. No other user can read or change it."""

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError, StoreError

__all__ = [
    "FOLDER_VARIABLE",
    "HOST_SOCKET",
    "fault_of",
    "folder_path",
    "host_socket",
    "made_folder",
    "opened_folder",
]

#: The environment variable with another path, for containers that share a folder.
FOLDER_VARIABLE = "FASTRPC_HOST_FOLDER"

#: The file name of a socket in the folder.
HOST_SOCKET = re.compile(r"([0-9a-f]{16})\.sock")

#: All rights of the group and of others.
_FOREIGN_RIGHTS = stat.S_IRWXG | stat.S_IRWXO


def folder_path() -> str:
    """Return the path of the folder, which may not exist yet.

    Raises:
        ConfigError: the variable has a relative path.
    """
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        if not os.path.isabs(given):
            raise ConfigError(f"{FOLDER_VARIABLE} is {given!r}", hint="give an absolute path")
        return os.path.normpath(given)
    user = os.geteuid()
    if user == 0:
        # Root does not use XDG_RUNTIME_DIR, because sudo may keep the variable of another user.
        return "/run/fastrpc"
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # The XDG Base Directory Specification says to ignore a relative path.
    if os.path.isabs(runtime):
        return os.path.join(runtime, "fastrpc")
    return os.path.join(tempfile.gettempdir(), f"fastrpc-{user}")


def host_socket(address: Address, folder: str) -> str | None:
    """Return the name of a socket in the folder without `.sock`; None if the address is not such a socket."""
    parent, name = os.path.split(address.path)
    match = HOST_SOCKET.fullmatch(name)
    return match[1] if address.scheme == "unix" and parent == folder and match is not None else None


def made_folder(path: str) -> None:
    """Create the folder with access for this user only, unless it exists.

    Raises:
        StoreError: the folder cannot be created, or belongs to another user.
    """
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, stat.S_IRWXU)
    except OSError as error:
        raise StoreError(
            f"the host folder {path!r} cannot be made: {error.strerror}",
            hint=f"set {FOLDER_VARIABLE} to a path in a folder of this user",
        ) from error
    with opened_folder(path) as folder:
        if folder is None:
            raise StoreError(f"the host folder {path!r} was removed while it was made")


@contextlib.contextmanager
def opened_folder(path: str) -> Iterator[int | None]:
    """Yield a descriptor of the folder; None if the folder does not exist.

    Raises:
        StoreError: the path is not a folder, belongs to another user, or grants rights to others.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(path, flags)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise StoreError(
            f"the host folder {path!r} cannot be used: {error.strerror}",
            hint=f"it has to be a folder of this user, no link; or set {FOLDER_VARIABLE} to another path",
        ) from error
    try:
        fault = fault_of(os.fstat(folder))
        if fault is not None:
            raise StoreError(
                f"the host folder {path!r} is not used: {fault}",
                hint=f"chmod 700 it if it is yours and only fastrpc uses it, or set {FOLDER_VARIABLE} to another path",
            )
        yield folder
    finally:
        os.close(folder)


def fault_of(status: os.stat_result) -> str | None:
    """Return why a file or folder is not private to this user; None if it is."""
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}, not to user {os.geteuid()}"
    if status.st_mode & _FOREIGN_RIGHTS:
        return f"its mode is {stat.S_IMODE(status.st_mode):04o}, others have rights"
    return None

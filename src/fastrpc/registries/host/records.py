"""Record files: one for each socket of a server, locked while the server lives.

::

    <folder>/0123456789abcdef.sock                           a listening socket
    <folder>/0123456789abcdef-fedcba9876543210.json          its record: {"v": 1, "services": {"arith": {…}}}

A file is written once under a name that is never used again, and locked (flock) before it has this name. So a reader
sees a whole record. The system frees the lock when the process ends for any reason. If the lock is free, the server has
ended and will not return, and the record is removed.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
import weakref
from collections.abc import Mapping

import msgspec

from fastrpc.errors import StoreError
from fastrpc.registries.host.folder import fault_of, made_folder, opened_folder

__all__ = ["MOST_BYTES", "OwnRecord", "RefusedFileError", "read_record", "record_owner"]

#: The largest record file in bytes, enough for some thousand services.
MOST_BYTES = 1_048_576

#: Attempts to write a file. While a new file is not locked yet, another process may take it for the file of an ended
#: process and remove it.
_TRIES = 8

_FORMAT = 1
_NAME = re.compile(r"([0-9a-f]{16})-[0-9a-f]{16}\.json")
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{16}\.json")


class RefusedFileError(ValueError):
    """A file of the folder is ignored; the message has the reason."""


class _File(msgspec.Struct):
    v: int
    services: dict[str, msgspec.Raw]


class OwnRecord:
    """The record of one socket of this process.

    Args:
        folder: the path of the host folder.
        socket_name: the name of the socket without its ending.
    """

    def __init__(self, folder: str, socket_name: str) -> None:
        self._folder = folder
        self._socket_name = socket_name
        self._services: dict[str, bytes] = {}
        # The descriptor of the locked file, and its name.
        self._held: tuple[int, str] | None = None
        _own.add(self)

    @property
    def is_empty(self) -> bool:
        """Whether the record has no service."""
        return not self._services

    def holds(self, service: str) -> bool:
        """Return whether the file exists and has a service."""
        return service in self._services and self._held is not None and os.fstat(self._held[0]).st_nlink > 0

    def put(self, service: str, record: bytes) -> None:
        """Write a service.

        Raises:
            StoreError: the file cannot be written.
        """
        self._replace({**self._services, service: record})

    def drop(self, service: str) -> None:
        """Remove a service, and with the last service the file.

        Raises:
            StoreError: the file cannot be written.
        """
        self._replace({name: record for name, record in self._services.items() if name != service})

    def _replace(self, services: dict[str, bytes]) -> None:
        before = self._held
        try:
            made_folder(self._folder)
            with opened_folder(self._folder) as folder:
                if folder is None:
                    raise StoreError(f"the host folder {self._folder!r} is gone")
                self._held = _written(folder, self._socket_name, services) if services else None
                self._services = services
                # Remove the old file after the new file exists, so that the services are always listed.
                if before is not None:
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(before[1], dir_fd=folder)
        except OSError as error:
            raise StoreError(f"a record cannot be written to {self._folder!r}: {error}") from error
        if before is not None:
            os.close(before[0])

    def forget(self) -> None:
        """Close the descriptor in the child of a fork, where it would keep the parent's lock."""
        held, self._held = self._held, None
        if held is not None:
            os.close(held[0])


#: All records of this process. A forked child closes their descriptors.
_own: weakref.WeakSet[OwnRecord] = weakref.WeakSet()


def _forget_all() -> None:
    for record in list(_own):
        record.forget()


os.register_at_fork(after_in_child=_forget_all)


def _written(folder: int, socket_name: str, services: Mapping[str, bytes]) -> tuple[int, str]:
    """Return a new locked file, and its name."""
    content = msgspec.json.encode(
        {"v": _FORMAT, "services": {name: msgspec.Raw(record) for name, record in services.items()}}
    )
    if len(content) > MOST_BYTES:
        raise StoreError(
            f"the services of a socket take {len(content)} bytes, a record file holds {MOST_BYTES}"
        )
    for _ in range(_TRIES):
        name = f"{socket_name}-{secrets.token_hex(8)}.json"
        file = os.open(
            f".{name}",
            os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC,
            stat.S_IRUSR | stat.S_IWUSR,
            dir_fd=folder,
        )
        try:
            # A reader that sees the file before it is locked takes it for the file of an ended process and removes it.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left = memoryview(content)
            while left:
                left = left[os.write(file, left) :]
            os.rename(f".{name}", name, src_dir_fd=folder, dst_dir_fd=folder)
        except (BlockingIOError, FileNotFoundError):
            os.close(file)
        except BaseException:
            os.close(file)
            with contextlib.suppress(OSError):
                os.unlink(f".{name}", dir_fd=folder)
            raise
        else:
            return file, name
    raise StoreError("a record file is removed again and again while it is written")


def record_owner(name: str) -> str | None:
    """Return the name of the socket of a record file; "" for a file that is being written; None for another file."""
    match = _NAME.fullmatch(name)
    return match[1] if match is not None else "" if _TEMPORARY.fullmatch(name) else None


def read_record(folder: int, name: str, *, only_lock: bool) -> Mapping[str, bytes] | None:
    """Return the records of a file by service. If its server has ended, remove the file and return None.

    Args:
        only_lock: True to check only the lock and return an empty mapping.

    Raises:
        RefusedFileError: the file is not a record of this user.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(error) from None
    try:
        _check(os.fstat(file))
        if _is_free(file):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            return None
        return {} if only_lock else _content(file)
    except OSError as error:
        # Some file systems do not support locks.
        raise _refused(error) from None
    finally:
        os.close(file)


def _refused(error: OSError) -> RefusedFileError:
    return RefusedFileError(
        "it is a link" if error.errno == errno.ELOOP else f"it cannot be read: {error.strerror}"
    )


def _check(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise RefusedFileError("it is not a file")
    fault = fault_of(status)
    if fault is not None:
        raise RefusedFileError(fault)
    if status.st_nlink > 1:
        raise RefusedFileError("it has more than one hard link")


def _is_free(file: int) -> bool:
    """Return whether no living process has locked a file. The shared lock does not exclude other readers."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _content(file: int) -> Mapping[str, bytes]:
    size = os.fstat(file).st_size
    if size > MOST_BYTES:
        raise RefusedFileError(f"it has {size} bytes, the limit is {MOST_BYTES}")
    with open(file, "rb", closefd=False) as opened:
        data = opened.read(MOST_BYTES + 1)
    try:
        found = msgspec.json.decode(data, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RefusedFileError(f"it does not fit: {error}") from None
    if found.v != _FORMAT:
        raise RefusedFileError(f"it has format {found.v}, the supported format is {_FORMAT}")
    return {name: bytes(record) for name, record in found.services.items()}

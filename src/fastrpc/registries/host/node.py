"""The records of this host: the records that this process wrote, and all records in the folder."""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from fastrpc.endpoint import Address, copied
from fastrpc.errors import StoreError
from fastrpc.registries.base.record import RecordError, decode_record, encode_record
from fastrpc.registries.host.folder import HOST_SOCKET, opened_folder
from fastrpc.registries.host.records import (
    OwnRecord,
    RefusedFileError,
    read_record,
    record_owner,
)

__all__ = ["HostNode"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds between two checks of the folder.
LOOK_SECONDS = 0.5

#: If a folder changed less than TICK_NS before a check, it is read again: a change right after the check may leave the
#: folder's modification time unchanged, because file times have the kernel's resolution of 1 to 10 ms.
TICK_NS = 100_000_000

#: The most rejected files that are logged. Further files are rejected silently.
MOST_NAMED = 1_000


class HostNode:
    """Reads and writes the records of a folder.

    Args:
        path: the path of the folder, which may not exist yet.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        #: Held while records are read or changed. Re-entrant, because a finalizer may close a lookup on any line.
        self.changed = threading.Condition(threading.RLock())
        self._own: dict[str, OwnRecord] = {}
        # The records of each file, by service.
        self._known: dict[str, Mapping[str, bytes]] = {}
        # The state of the folder when the records were read.
        self._seen: tuple[int, int, int] | None = None
        self._named: set[tuple[str, str]] = set()
        self._version = 0
        self._is_closed = False

    # Lookups

    @property
    def version(self) -> int:
        """A number that increases with each change of the records."""
        return self._version

    def start(self) -> None:
        """Read the folder if it has changed.

        Raises:
            StoreError: the folder is not private to this user.
        """
        with self.changed:
            self._look()

    def wait(self, is_over: Callable[[], bool], wait_seconds: float, is_found: Callable[[], bool]) -> None:
        """Check the folder again and again until `is_over()`. The caller holds `changed`."""
        until = time.monotonic() + wait_seconds
        while not (self._is_closed or is_over()) and (left := until - time.monotonic()) > 0:
            self.changed.wait(min(left, LOOK_SECONDS))
            self._look()

    def records(self, services: Iterable[str]) -> dict[str, list[tuple[str, bytes]]]:
        """Return the files and records of services. The caller holds `changed`."""
        return {
            service: [(name, found[service]) for name, found in self._known.items() if service in found]
            for service in services
        }

    def services(self) -> set[str]:
        """Return the services in the folder now."""
        with self.changed:
            self._look()
            return {service for found in self._known.values() for service in found}

    def close(self) -> None:
        """End all waits."""
        with self.changed:
            self._is_closed = True
            self.changed.notify_all()

    def _look(self) -> None:
        """Read the folder if it has changed or a server has ended."""
        before = self._known
        with opened_folder(self.path) as folder:
            if folder is None:
                self._known, self._seen = {}, None
            else:
                status = os.fstat(folder)
                seen = status.st_dev, status.st_ino, status.st_mtime_ns
                is_settled = seen == self._seen and status.st_mtime_ns + TICK_NS < time.time_ns()
                if not (is_settled and all(self._read(folder, name) is not None for name in before)):
                    self._list(folder)
                self._seen = seen
        if self._known != before:
            self._version += 1
            self.changed.notify_all()

    def _list(self, folder: int) -> None:
        found: dict[str, Mapping[str, bytes]] = {}
        sockets: set[str] = set()
        for name in sorted(os.listdir(folder)):
            if HOST_SOCKET.fullmatch(name):
                sockets.add(name)
            elif (owner := record_owner(name)) is None:
                self._note(name, "it is neither a socket nor a record")
            elif (records := self._read(folder, name)) is not None and owner:
                found[name] = records
        self._known = found
        _remove_stale(folder, self.path, sockets - {f"{record_owner(name)}.sock" for name in found})

    def _read(self, folder: int, name: str) -> Mapping[str, bytes] | None:
        """Return the records of a file by service; None if its server has ended or the file is refused."""
        known = self._known.get(name)
        owner = record_owner(name)
        try:
            found = read_record(folder, name, only_lock=known is not None or not owner)
            if found is None or known is not None or not owner:
                return None if found is None else known or found
            _check_socket(folder, f"{owner}.sock")
        except RefusedFileError as error:
            self._note(name, str(error))
            return None
        address = Address("unix", path=f"{self.path}/{owner}.sock")
        return {service: self._placed(name, record, address) for service, record in found.items()}

    def _placed(self, name: str, record: bytes, address: Address) -> bytes:
        """Return a record with the address of its socket and the scope `host`; a malformed record is unchanged."""
        try:
            told = decode_record(record)
        except RecordError as error:
            self._note(name, str(error))
            return record
        return encode_record(copied(told, address=address, labels={**told.labels, "scope": "host"}))

    def _note(self, name: str, reason: str) -> None:
        """Log once why a file is ignored."""
        if (name, reason) not in self._named and len(self._named) < MOST_NAMED:
            self._named.add((name, reason))
            logger.warning("the host folder %r: %r is ignored: %s", self.path, name, reason)

    # The records of this process

    def publish(self, socket_name: str, service: str, record: bytes) -> None:
        """Write a record, and remove the files of servers that have ended.

        Raises:
            StoreError: the record cannot be written, or the socket is gone.
        """
        if not os.path.exists(f"{self.path}/{socket_name}.sock"):
            # Another program has removed the socket, so clients could not connect.
            raise StoreError(
                f"the socket {self.path}/{socket_name}.sock is gone", hint="start the server again"
            )
        with self.changed:
            is_new = socket_name not in self._own
            own = self._own.setdefault(socket_name, OwnRecord(self.path, socket_name))
            own.put(service, record)
            if is_new:
                self._look()

    def holds(self, socket_name: str, service: str) -> bool:
        """Return whether the record of a service exists."""
        with self.changed:
            own = self._own.get(socket_name)
            return own is not None and own.holds(service)

    def withdraw(self, socket_name: str, service: str) -> None:
        """Withdraw a record that `publish` wrote.

        Raises:
            StoreError: the file cannot be written.
        """
        with self.changed:
            own = self._own.get(socket_name)
            if own is not None:
                own.drop(service)
                if own.is_empty:
                    del self._own[socket_name]


def _check_socket(folder: int, name: str) -> None:
    """Refuse a record whose socket is not a socket of this user.

    Raises:
        RefusedFileError: the socket is in use, or belongs to another user.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(status.st_mode):
        raise RefusedFileError(f"{name} is not a socket")
    if status.st_uid != os.geteuid():
        raise RefusedFileError(f"{name} belongs to user {status.st_uid}, not to user {os.geteuid()}")


def _remove_stale(folder: int, path: str, names: Iterable[str]) -> None:
    """Remove the sockets of servers that have ended. A socket without a record may be new."""
    stale = list(names)
    if not stale:
        return
    with contextlib.ExitStack() as probes:
        try:
            # `bind` holds the same lock: a socket that is bound but does not listen yet looks stale.
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        probe = probes.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        for name in stale:
            probe.setblocking(False)
            code = probe.connect_ex(f"{path}/{name}")
            if code == errno.ECONNREFUSED:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
            elif code == 0:
                # After a refused connection, the same socket may try another path; after a successful connection it may
                # not.
                probe = probes.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))

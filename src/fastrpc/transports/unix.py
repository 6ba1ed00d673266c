"""Unix sockets: `unix:///path`."""

import asyncio
import errno
import fcntl
import os
import socket
import stat
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from fastrpc._core.io.blocking_io import SocketIO
from fastrpc.endpoint import Address
from fastrpc.transports.base import BACKLOG, DialOptions, Listener, ListenOptions, SessionFactory
from fastrpc.transports.sockets import (
    LONGEST_PATH,
    Handover,
    close_all,
    connect_error,
    listen_error,
    open_listener,
)

__all__ = ["TRANSPORT", "UnixTransport", "bind", "removal_of", "user_of"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)

#: Seconds to wait for another process that starts in the same directory. A start takes microseconds. If a process holds
#: the lock for longer, it is not starting, and this start continues without the lock.
_LOCK_SECONDS = 1.0

#: The process, the user and the group of a peer (struct ucred of Linux).
_CREDENTIALS = struct.Struct("iII")


class UnixTransport:
    """Dial and listen over stream sockets of the Unix domain."""

    scheme = "unix"

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect to the listener of a path."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            _check_path(address.path)
            # Dial by path, never with `sock=`: see `transports/tcp.py`.
            transport, handover = await loop.create_unix_connection(Handover, address.path)
        except (OSError, ValueError) as failure:
            raise connect_error(address, [("", failure)], time.monotonic() - started) from failure
        try:
            if transport.get_extra_info("peername") is None:
                # asyncio treats EAGAIN as a connection in progress, but here it means that the backlog is full.
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            handover.ensure_alive()
        except OSError as failure:
            transport.abort()
            raise connect_error(address, [("", failure)], time.monotonic() - started) from failure
        return transport, handover.to(session_factory)

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Accept connections at a path. The stale socket file of an ended listener is replaced.

        Closing removes the file, unless the socket was given: then its creator owns the file.
        """
        bound = options.socket
        before_close = None
        try:
            if bound is None:
                bound, before_close = await bind(address, options.backlog)
            return await open_listener(address, [bound], session_factory, options.backlog, before_close)
        except BaseException as failure:
            close_all([bound] if bound is not None else [])
            if isinstance(failure, OSError | ValueError):
                raise listen_error(address, failure) from None
            raise

    def connect(self, address: Address, timeout: float | None, options: DialOptions) -> SocketIO:
        """Connect without an event loop."""
        started = time.monotonic()
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _check_path(address.path)
            connected.settimeout(timeout)
            connected.connect(address.path)
            connected.settimeout(None)
        except (OSError, ValueError) as failure:
            connected.close()
            raise connect_error(address, [("", failure)], time.monotonic() - started) from failure
        except BaseException:
            connected.close()
            raise
        return SocketIO(connected)


def user_of(transport: asyncio.BaseTransport) -> int | None:
    """Return the user id of the process that connected; None if the system does not report it."""
    connected = transport.get_extra_info("socket")
    option = getattr(socket, "SO_PEERCRED", None)
    if connected is None or option is None:
        return None
    try:
        raw = connected.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    except OSError:
        return None
    user: int = _CREDENTIALS.unpack(raw)[1]
    return user


class _Removal:
    """Removes a socket file, unless another file has replaced it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process_id = os.getpid()
        self._identity = _identity(path)

    def run(self) -> None:
        # A forked child closes only its copy of the listener: the parent still listens.
        if self._process_id == os.getpid() and self._identity and self._identity == _identity(self._path):
            Path(self._path).unlink(missing_ok=True)


def removal_of(address: Address) -> Callable[[], None]:
    """Return a function that removes the present socket file of an address. In a forked child it does nothing."""
    return _Removal(address.path).run


def _identity(path: str) -> tuple[int, int, int] | None:
    """Return the identity of a file. The inode number alone is not enough: the system reuses it immediately."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


async def bind(
    address: Address, backlog: int = BACKLOG, *, mode: int | None = None
) -> tuple[socket.socket, Callable[[], None]]:
    """Return a socket that listens at the address's path, and a function that removes its file.

    Args:
        mode: the permissions of the file; None leaves them to the umask.

    Raises:
        OSError: another program listens there, or the file cannot be made.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _check_path(address.path)
        async with _starting_in(Path(address.path).parent):
            _remove_if_stale(address.path)
            bound.bind(address.path)
            if mode is not None:
                # Set before `listen`, so before a client can connect.
                os.chmod(address.path, mode)
            # Still under the lock: a socket that is bound but does not listen yet looks stale.
            bound.listen(backlog)
            return bound, removal_of(address)
    except BaseException:
        bound.close()
        raise


def _check_path(path: str) -> None:
    """Refuse a path that no socket can have. Some systems and loops would truncate it and use another socket.

    Raises:
        OSError: the path is too long.
        ValueError: it has a NUL, or a character that the file system cannot encode.
    """
    # A leading NUL marks an abstract name of Linux, which has no file.
    if "\0" in path[1:]:
        raise ValueError("embedded null byte")
    if len(os.fsencode(path)) > LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def _remove_if_stale(path: str) -> None:
    """Remove a stale socket file.

    Raises:
        OSError: a program listens there, or the file is not a socket.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # The backlog is full, so the listener is alive.
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


@asynccontextmanager
async def _starting_in(directory: Path) -> AsyncIterator[None]:
    """Keep other processes from binding in this directory, where they could mistake a new file for a stale one."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # Without a lock: this process may create files in the directory, but cannot open the directory itself.
        yield
        return
    try:
        deadline = time.monotonic() + _LOCK_SECONDS
        while not _locked(descriptor) and time.monotonic() < deadline:  # noqa: ASYNC110 - a lock has no event
            await asyncio.sleep(0.005)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as failure:
        # Retry only while another process holds the lock. Some file systems have no locks.
        return failure.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


TRANSPORT = UnixTransport()

"""Listening sockets of a server that refuses some peers, by closing their connections before making any object.

An event loop makes a transport for each accepted connection before it reports the peer's address. In a flood this costs
several times as much as accepting and closing, and the loop accepts as long as connections arrive.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["JudgedServer", "accept_judged", "admitted"]

#: The most connections accepted in one loop iteration, so that other callbacks run in between.
_MOST_AT_ONCE: Final = 32

#: Seconds without accepting after a lasting error such as a lack of descriptors or memory; the same as in asyncio.
PAUSE_SECONDS: Final = 1.0

#: Errors that concern only one connection (accept(2)). After other errors, such as a lack of descriptors or a seccomp
#: filter, the next attempt fails as well.
_OF_ONE: Final = {
    *(
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EPROTO,
        errno.ETIMEDOUT,
        errno.EOPNOTSUPP,
        errno.ENOPROTOOPT,
    ),
    *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH, getattr(errno, "ENONET", 0)),
}

#: With a linger of 0 seconds the peer gets a reset, and this system keeps no state of the connection.
_LINGER: Final = struct.pack("ii", 1, 0)


def admitted(connection: socket.socket, admits: Callable[[Any], bool]) -> bool:
    """Return whether an accepted connection is served; close it if not.

    Raises:
        OSError: the connection is already lost; it is closed.
    """
    try:
        if admits(connection.getpeername()):
            return True
    except OSError:
        connection.close()
        raise
    _reset(connection)
    return False


def accept_judged(bound: socket.socket, admits: Callable[[Any], bool] | None) -> socket.socket | None:
    """Accept a waiting connection; return None if it is refused, or was lost meanwhile.

    Raises:
        BlockingIOError: no connection waits.
        OSError: the next attempt would fail as well.
    """
    try:
        # `accept` would make a socket object, which for a refused connection costs as much as all other steps here.
        descriptor, peer_name = bound._accept()  # type: ignore[attr-defined]
    except BlockingIOError:
        raise
    except OSError as error:
        if error.errno in _OF_ONE:
            return None
        raise
    try:
        is_admitted = admits is None or admits(peer_name)
    except BaseException:
        os.close(descriptor)
        raise
    if not is_admitted:
        # Only an option is set and the socket is closed, neither of which depends on the address family.
        _reset(socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor))
        return None
    connection = socket.socket(bound.family, bound.type, bound.proto, descriptor)
    connection.setblocking(False)
    return connection


def _reset(connection: socket.SocketType) -> None:
    """Close a connection without waiting for its peer."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    except OSError:
        # Some systems refuse to set options of a connection that the peer has reset.
        pass
    finally:
        connection.close()


class JudgedServer:
    """Accepts connections at one socket, instead of an event loop's server.

    Args:
        admits: called with a peer's socket address; returns whether its connection is served.
        serve: called with each connection to serve, which it then owns.
    """

    def __init__(
        self,
        bound: socket.socket,
        admits: Callable[[Any], bool],
        serve: Callable[[socket.socket], None],
    ) -> None:
        self._bound = bound
        self._admits = admits
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._resumes: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen, and accept from now on."""
        self._bound.setblocking(False)
        self._bound.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting; open connections stay."""
        if self._resumes is not None:
            self._resumes.cancel()
        self._loop.remove_reader(self._bound.fileno())
        self._bound.close()

    def _resume(self) -> None:
        self._resumes = None
        self._loop.add_reader(self._bound.fileno(), self._accept)

    def _accept(self) -> None:
        """Accept connections up to the first refused one, so that a flood does not delay calls."""
        for _ in range(_MOST_AT_ONCE):
            try:
                connection = accept_judged(self._bound, self._admits)
            except BlockingIOError:
                return
            except OSError as error:
                # Waiting connections would fail again immediately.
                self._pause(PAUSE_SECONDS)
                text = "a connection could not be accepted"
                context = {"message": text, "exception": error, "socket": self._bound}
                self._loop.call_exception_handler(context)
                return
            if connection is None:
                return
            self._serve(connection)

    def _pause(self, seconds: float) -> None:
        """Accept no connections for `seconds`."""
        self._loop.remove_reader(self._bound.fileno())
        self._resumes = self._loop.call_later(seconds, self._resume)

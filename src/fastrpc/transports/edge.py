"""Listening sockets of a server that refuses some peers: these are closed before anything is made for them.

An event loop makes a transport for each connection that it accepts, and tells the address of its peer only then. Under
a flood that costs several times as much as to accept and close, and the loop accepts as long as connections come.
"""

import asyncio
import contextlib
import errno
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

__all__ = ["MOST_AT_ONCE", "JudgedServer", "accept_judged", "admitted"]

#: Connections accepted in one turn of the loop; others run between.
MOST_AT_ONCE: Final = 32

#: Seconds without accepting after the system had no descriptor or memory for a connection, as asyncio waits.
PAUSE_SECONDS: Final = 1.0

#: The system has no descriptor or no memory for a connection.
_SCARCE: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

#: On, with 0 seconds: the peer is told by a reset, and no state of the connection is left here.
_LINGER: Final = struct.pack("ii", 1, 0)


def admitted(connection: socket.socket, admits: Callable[[Any], bool]) -> bool:
    """Return whether an accepted connection is served; close it if not.

    Raises:
        OSError: it is already lost; it is closed.
    """
    try:
        if admits(connection.getpeername()):
            return True
    except OSError:
        connection.close()
        raise
    _close_at_once(connection)
    return False


def accept_judged(bound: socket.socket, admits: Callable[[Any], bool] | None) -> socket.socket | None:
    """Accept a connection that waits; return None if its peer has left or is refused.

    Raises:
        BlockingIOError: none waits.
        OSError: the system has no descriptor or memory for it.
    """
    try:
        connection, peer_name = bound.accept()
    except ConnectionError:
        return None
    if admits is not None and not admits(peer_name):
        _close_at_once(connection)
        return None
    connection.setblocking(False)
    return connection


def _close_at_once(connection: socket.socket) -> None:
    """Close a connection without waiting for its peer."""
    # Some systems set nothing on a connection that its peer has reset.
    with connection, contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


class JudgedServer:
    """Accepts at one socket, in the place of the server of an event loop.

    Args:
        admits: whether a connection is served, by its peer as sockets name it.
        serve: takes over a connection that is.
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
        self._pause: asyncio.TimerHandle | None = None

    def start(self, backlog: int) -> None:
        """Listen, and accept from now on."""
        self._bound.setblocking(False)
        self._bound.listen(backlog)
        self._resume()

    def close(self) -> None:
        """Stop accepting; open connections stay."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._bound.fileno())
        self._bound.close()

    def _resume(self) -> None:
        self._pause = None
        self._loop.add_reader(self._bound.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(MOST_AT_ONCE):
            try:
                connection = accept_judged(self._bound, self._admits)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _SCARCE:
                    # An error of one connection on the network: the next one may be well.
                    continue
                self._wait(error)
                return
            if connection is not None:
                self._serve(connection)

    def _wait(self, error: OSError) -> None:
        """Accept nothing for a moment: connections that wait would fail again at once."""
        self._loop.remove_reader(self._bound.fileno())
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._resume)
        context = {"message": "a connection could not be accepted", "exception": error, "socket": self._bound}
        self._loop.call_exception_handler(context)

"""The control socket of a server, through which a new program gets the listening sockets and takes over.

Only programs of the same user may take over: the file of the socket has mode 0600, and the system reports the
connecting user. This program serves until the new program reports that it serves. Without that report it continues to
serve.
"""

import asyncio
import contextlib
import errno
import logging
import os
import selectors
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.transports import unix
from fastrpc.transports.sockets import listen_error
from fastrpc.workers.takeover.control_channel import VERSION, Inbox, peer_of, send, send_sockets

__all__ = ["Control", "Successor"]

logger = logging.getLogger("fastrpc.audit")

#: The most programs that wait for an answer.
BACKLOG = 8

#: Seconds to wait for a program that does not read. A message fits into the socket's buffer.
SEND_SECONDS = 1.0

#: Seconds without accepting when no descriptor is left.
PAUSE_SECONDS = 1.0

#: The mode of the socket's file: only the server's user may connect.
MODE = 0o600


@dataclass(frozen=True, slots=True)
class Successor:
    """The program that replaces this program."""

    process: int
    #: The addresses that it serves with sockets from this program.
    addresses: frozenset[str]


class Control:
    """The control socket, and the program that is about to replace this program.

    Args:
        bound: the control socket of the previous program; None: a new socket.
        offer: returns a description of the sockets for a new program, and the sockets.
    """

    def __init__(
        self,
        address: Address,
        bound: socket.socket | None,
        offer: Callable[[], tuple[dict[str, Any], list[socket.socket]]],
        clock: Callable[[], float],
    ) -> None:
        if not hasattr(socket, "SO_PEERCRED"):
            raise ConfigError("--control needs a system that reports the user of a peer (SO_PEERCRED): Linux")
        self.address = address
        self._offer = offer
        self._remove: Callable[[], None] | None = None
        if bound is None:
            bound, self._remove = _bound(address)
        bound.setblocking(False)
        self.socket = bound
        self._selector: selectors.BaseSelector | None = None
        self._connection: socket.socket | None = None
        self._inbox: Inbox | None = None
        self._process = 0
        self._clock = clock
        #: The instant at which to accept programs again after a pause; None: no pause.
        self.resume_at: float | None = None
        #: The program that has replaced this program; None before a takeover.
        self.successor: Successor | None = None

    # Life

    def open(self, selector: selectors.BaseSelector) -> None:
        """Accept other programs from now on, because this program now serves."""
        if self._remove is None:
            # From now on this program removes the socket's file.
            self._remove = unix.removal_of(self.address)
        self._selector = selector
        selector.register(self.socket, selectors.EVENT_READ, self._accept)

    def resume(self) -> None:
        """Accept programs again if a pause is over."""
        if self.resume_at is not None and self._clock() >= self.resume_at and self._selector is not None:
            self.resume_at = None
            self._selector.register(self.socket, selectors.EVENT_READ, self._accept)

    def give_way(self) -> None:
        """Notify the successor that this program drains, and leave the control socket to it."""
        self._remove = None
        if self._connection is not None:
            with contextlib.suppress(OSError):
                send(self._connection, drains=True)
        self.close()

    def close(self) -> None:
        """Close the socket; remove its file, unless another program has it. Closing twice is allowed."""
        if self._connection is not None and self.successor is None:
            self._refuse(self._connection, "it is stopping")
        if self._selector is not None:
            for one in filter(None, (self.socket, self._connection)):
                with contextlib.suppress(KeyError, ValueError):  # It is not registered at the moment.
                    self._selector.unregister(one)
            self._selector = None
        self.resume_at = None
        if self._remove is not None:
            self._remove()
            self._remove = None
        self.abandon()

    def abandon(self) -> None:
        """Close only this process's copies of the sockets."""
        self.socket.close()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # Programs

    def _accept(self) -> None:
        try:
            connection, _ = self.socket.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            logger.error("cannot accept connections at %s: %s", self.address, error)
            assert self._selector is not None
            self._selector.unregister(self.socket)
            self.resume_at = self._clock() + PAUSE_SECONDS
            return
        process, user = peer_of(connection)
        if user != os.geteuid():
            logger.warning("takeover refused: process %d is of user %d, not %d", process, user, os.geteuid())
            connection.close()
        elif self._connection is not None:
            self._refuse(connection, f"process {self._process} is taking its place already")
            connection.close()
        else:
            self._give(connection, process)

    def _give(self, connection: socket.socket, process: int) -> None:
        """Send the sockets to a program, and wait for its report."""
        values, sockets = self._offer()
        try:
            connection.settimeout(SEND_SECONDS)
            send(connection, process=os.getpid(), version=VERSION, **values)
            send_sockets(connection, [*sockets, self.socket])
            connection.setblocking(False)
        except ConnectionError:
            # A program that finds its control socket in use connects and disconnects immediately.
            text = "process %d connected at %s and left: it was not started with --takeover, or has ended"
            logger.info(text, process, self.address, extra={"event": "takeover_given_up"})
            connection.close()
            return
        except OSError as error:
            logger.warning("takeover by process %d failed: %s", process, error)
            connection.close()
            return
        logger.info("takeover: process %d has the listening sockets", process, extra={"event": "takeover"})
        self._connection, self._process, self._inbox = connection, process, Inbox(connection)
        assert self._selector is not None
        self._selector.register(connection, selectors.EVENT_READ, self._hear)

    def _hear(self) -> None:
        assert self._inbox is not None
        assert self._connection is not None
        assert self._selector is not None
        try:
            message = self._inbox.read()
            if message is None:
                return
            addresses = frozenset(map(str, message["serves"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            text = "takeover by process %d ended before it served, this program continues to serve: %s"
            logger.warning(text, self._process, error, extra={"event": "takeover_failed"})
            self._selector.unregister(self._connection)
            self._connection.close()
            self._connection = None
            return
        text = "takeover: process %d serves in the place of this program"
        logger.info(text, self._process, extra={"event": "taken_over"})
        self._selector.unregister(self._connection)
        self._connection.settimeout(SEND_SECONDS)
        self.successor = Successor(self._process, addresses)

    def _refuse(self, connection: socket.socket, reason: str) -> None:
        with contextlib.suppress(OSError):
            connection.settimeout(SEND_SECONDS)
            send(connection, refused=reason)


def _bound(address: Address) -> tuple[socket.socket, Callable[[], None]]:
    try:
        return asyncio.run(unix.bind(address, BACKLOG, mode=MODE))
    except (OSError, ValueError) as failure:
        if isinstance(failure, OSError) and failure.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"cannot listen at {address}: a program listens there already",
                hint="add --takeover to take its place",
            ) from failure
        raise listen_error(address, failure) from None

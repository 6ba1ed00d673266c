"""Accepting connections in one process and handing them to others."""

import asyncio
import socket
from collections.abc import Callable, Sequence

from fastrpc.config import ServerConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.transports import tcp, unix
from fastrpc.transports.base import BACKLOG
from fastrpc.transports.sockets import close_all, listen_error

__all__ = ["Acceptor", "ListeningSocket"]


class ListeningSocket:
    """A listening socket, and which of the addresses it is for."""

    __slots__ = ("index", "socket")

    def __init__(self, index: int, bound: socket.socket) -> None:
        self.index = index
        self.socket = bound

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> socket.socket | None:
        """Return a connection, or None when none waits."""
        try:
            connection, _ = self.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return None
        return connection


class Acceptor:
    """The addresses of a server whose work several processes do.

    One process accepts and deals the connections out in turn. Processes that accept at one socket, or at one
    port by SO_REUSEPORT, get as many connections as chance has it, and connections of RPC clients are few and
    long-lived: chance leaves processes idle. It also keeps what waits to be accepted when a process dies.
    """

    def __init__(self, addresses: Sequence[Address], config: ServerConfig) -> None:
        self.addresses: list[Address] = []
        self.listening_sockets: list[ListeningSocket] = []
        self._removals: list[Callable[[], None]] = []
        try:
            for index, address in enumerate(addresses):
                self._bind(index, address, config)
        except BaseException:
            self.close()
            raise

    def _bind(self, index: int, address: Address, config: ServerConfig) -> None:
        if address.scheme == "tcp":
            bound = tcp.bind(address, silence_seconds=silence_seconds(config.keepalive))
            host, port = bound[0].getsockname()[:2]
            address = Address("tcp", host=address.host or host, port=port, path=address.path)
        elif address.scheme == "unix":
            try:
                one, remove = asyncio.run(unix.bind(address))
            except (OSError, ValueError) as failure:
                raise listen_error(address, failure) from failure
            self._removals.append(remove)
            bound = [one]
        else:
            raise ConfigError(
                f"{str(address)!r} cannot be served by several processes", hint="leave workers at 1 for it"
            )
        self.addresses.append(address)
        self.listening_sockets += [ListeningSocket(index, one) for one in bound]

    def listen(self) -> None:
        """Let connections arrive; until then they are refused (tcp) or wait (unix)."""
        for listening_socket in self.listening_sockets:
            try:
                listening_socket.socket.listen(BACKLOG)
            except OSError as failure:
                # Two programs can bind to one port as long as neither listens.
                raise listen_error(self.addresses[listening_socket.index], failure) from failure
            listening_socket.socket.setblocking(False)

    def close(self) -> None:
        """Stop accepting. Closing twice is fine."""
        for remove in self._removals:
            remove()
        self._removals.clear()
        self.abandon()

    def abandon(self) -> None:
        """Close this process's copies only; the addresses stay with the other."""
        close_all([listening_socket.socket for listening_socket in self.listening_sockets])
        self.listening_sockets.clear()

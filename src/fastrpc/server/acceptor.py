"""Accept connections in one process and hand them to others."""

import asyncio
import socket
from collections.abc import Callable, Sequence

from fastrpc.config import TLS, ServerConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.server.encryption import check_listening
from fastrpc.tls.contexts import server_contexts
from fastrpc.transports import tcp, unix
from fastrpc.transports.base import BACKLOG
from fastrpc.transports.sockets import close_all, listen_error

__all__ = ["Acceptor", "ListeningSocket"]


class ListeningSocket:
    """A listening socket with the index of its address."""

    __slots__ = ("index", "socket")

    def __init__(self, index: int, bound: socket.socket) -> None:
        self.index = index
        self.socket = bound

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> socket.socket | None:
        """Return a waiting connection, or None."""
        try:
            connection, _ = self.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return None
        return connection


class Acceptor:
    """The listening sockets of a server with several processes.

    One process accepts, and hands the connections to the others in turn. When several processes accept at one socket,
    or at one port by SO_REUSEPORT, chance distributes the connections. RPC clients have few, long-lived connections,
    so chance would leave some processes idle. A single acceptor also keeps the backlog when a worker dies.
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
        check_listening(address, config)
        if address.scheme == "tls":
            # Each worker makes its own: here mistakes are found before the first of them starts.
            server_contexts(config.tls or TLS())
        if address.scheme in {"tcp", "tls"}:
            bound = tcp.bind(address, silence_seconds=silence_seconds(config.keepalive))
            host, port = bound[0].getsockname()[:2]
            address = Address(address.scheme, host=address.host or host, port=port, path=address.path)
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
        """Start listening. Before that, connections are refused (tcp) or wait (unix)."""
        for listening_socket in self.listening_sockets:
            try:
                listening_socket.socket.listen(BACKLOG)
            except OSError as failure:
                # Two programs can bind to one port as long as neither listens.
                raise listen_error(self.addresses[listening_socket.index], failure) from failure
            listening_socket.socket.setblocking(False)

    def close(self) -> None:
        """Stop accepting. Closing twice is allowed."""
        for remove in self._removals:
            remove()
        self._removals.clear()
        self.abandon()

    def abandon(self) -> None:
        """Close this process's copies only; the parent keeps listening."""
        close_all([listening_socket.socket for listening_socket in self.listening_sockets])
        self.listening_sockets.clear()

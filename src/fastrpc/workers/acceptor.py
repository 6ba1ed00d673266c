"""Accept connections in one process and pass them to others."""

import asyncio
import os
import socket
from collections.abc import Callable, Container, Sequence
from typing import Any

from fastrpc.config import TLS, ServerConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError
from fastrpc.server.encryption import check_listening
from fastrpc.server.inherited import inherited_address, is_inherited, take_inherited
from fastrpc.tls.contexts import ContextSource, server_contexts
from fastrpc.transports import tcp, unix
from fastrpc.transports.base import BACKLOG
from fastrpc.transports.sockets import close_all, listen_error
from fastrpc.workers.takeover.takeover import Takeover
from fastrpc.workers.wanted import WantedSocket

__all__ = ["Acceptor", "ListeningSocket"]


class ListeningSocket:
    """A listening socket with the index of its address."""

    __slots__ = ("index", "socket")

    def __init__(self, index: int, bound: socket.socket) -> None:
        self.index = index
        self.socket = bound

    def fileno(self) -> int:
        return self.socket.fileno()


class Acceptor:
    """The listening sockets of a server with several processes.

    One process accepts the connections and passes them to the others in turn. If several processes accept at one
    socket, or at one port by SO_REUSEPORT, connections are distributed randomly. RPC clients have few, long-lived
    connections, so some processes would be idle. With a single acceptor the backlog also survives the death of a
    worker.

    Args:
        takeover: the connection with the sockets of the program that this program replaces.
    """

    def __init__(
        self,
        wanted: Sequence[WantedSocket],
        config: ServerConfig,
        takeover: Takeover | None = None,
    ) -> None:
        self.addresses: list[Address] = []
        self.listening_sockets: list[ListeningSocket] = []
        self._config = config
        self._wanted = list(wanted)
        self._contexts: list[ContextSource] = []
        # Index of an address -> function that removes the file of its unix socket; None for a file of the previous
        # program that this program does not own yet.
        self._removals: dict[int, Callable[[], None] | None] = {}
        try:
            for index, one in enumerate(wanted):
                self._bind(index, one, takeover)
        except BaseException:
            self.close()
            raise

    def _bind(self, index: int, wanted: WantedSocket, takeover: Takeover | None) -> None:
        given = None if takeover is None else takeover.take(wanted.named)
        place = wanted.place
        if given is not None:
            address = self._check(_address_at(place, given.address, self._config), wanted.tls)
            bound = list(given.sockets)
            if given.removes_file:
                self._removals[index] = None
        elif is_inherited(place):
            address = self._check(inherited_address(place, is_encrypted=self._config.tls is not None))
            bound = [take_inherited(place)]
            if address.scheme != "unix":
                tcp.set_options(bound[0], silence_seconds(self._config.keepalive))
        else:
            address, bound = self._bound(index, self._check(place, wanted.tls))
        self.addresses.append(address)
        self.listening_sockets += [ListeningSocket(index, one) for one in bound]

    def _check(self, address: Address, tls: TLS | None = None) -> Address:
        if tls is None:
            check_listening(address, self._config)
        if address.scheme == "tls":
            # Each worker makes its own contexts. These are made only to find mistakes before the first worker starts.
            self._contexts.append(server_contexts(tls or self._config.tls or TLS()))
        return address

    def _bound(self, index: int, address: Address) -> tuple[Address, list[socket.socket]]:
        """Bind new sockets; return the real address and the sockets."""
        if address.scheme in {"tcp", "tls"}:
            bound = tcp.bind(address, silence_seconds=silence_seconds(self._config.keepalive))
            host, port = bound[0].getsockname()[:2]
            return Address(address.scheme, host=address.host or host, port=port, path=address.path), bound
        if address.scheme == "unix":
            try:
                one, self._removals[index] = asyncio.run(unix.bind(address))
            except (OSError, ValueError) as failure:
                raise listen_error(address, failure) from None
            return address, [one]
        raise ConfigError(
            f"{str(address)!r} cannot be served by several processes",
            hint="leave workers at 1 for it, without a control socket",
        )

    def check_certificates(self) -> None:
        """Check the certificate files before new workers replace others.

        Raises:
            ConfigError: the files cannot replace those in use.
        """
        for contexts in self._contexts:
            contexts.check()

    def listen(self) -> None:
        """Start listening. Until then connections are refused (tcp) or wait (unix)."""
        for listening_socket in self.listening_sockets:
            try:
                listening_socket.socket.listen(BACKLOG)
            except OSError as failure:
                # Two programs can bind to the same port while neither listens.
                raise listen_error(self.addresses[listening_socket.index], failure) from None
            listening_socket.socket.setblocking(False)

    # Passing the sockets to another program, and taking them over from another program

    def shares(self) -> list[tuple[dict[str, Any], list[socket.socket]]]:
        """Return the sockets of each address, described for the program that takes them over."""
        shares = []
        for index, (wanted, address) in enumerate(zip(self._wanted, self.addresses, strict=True)):
            sockets = [one.socket for one in self.listening_sockets if one.index == index]
            told = {"wanted": str(wanted.named), "address": _name(address), "sockets": len(sockets)}
            shares.append((told | {"removes_file": index in self._removals}, sockets))
        return shares

    def own(self) -> None:
        """From now on remove the files of all sockets at the end, which the previous program will not do any more."""
        for index, remove in self._removals.items():
            if remove is None:
                self._removals[index] = unix.removal_of(self.addresses[index])

    def leave(self, names: Container[str]) -> bool:
        """Leave these addresses to another program. Return whether this program has no address left."""
        left = {index for index, address in enumerate(self.addresses) if _name(address) in names}
        for index in left:
            self._removals.pop(index, None)
        close_all([one.socket for one in self.listening_sockets if one.index in left])
        self.listening_sockets = [one for one in self.listening_sockets if one.index not in left]
        return not self.listening_sockets

    # End

    def close(self) -> None:
        """Stop accepting. Closing twice is allowed."""
        for remove in self._removals.values():
            if remove is not None:
                remove()
        self._removals.clear()
        self.abandon()

    def abandon(self) -> None:
        """Close only this process's copies of the sockets. The parent continues to listen."""
        close_all([listening_socket.socket for listening_socket in self.listening_sockets])
        self.listening_sockets.clear()


def _address_at(wanted: Address, bound: Address, config: ServerConfig) -> Address:
    """Return the address of a socket bound by another program, with TLS according to this program's settings."""
    if bound.scheme == "unix":
        return bound
    if is_inherited(wanted):
        return Address("tcp" if config.tls is None else "tls", host=bound.host, port=bound.port)
    return Address(wanted.scheme, host=bound.host, port=bound.port, path=wanted.path)


def _name(address: Address) -> str:
    """Return the address in a form that does not depend on the working directory."""
    if address.scheme != "unix":
        return str(address)
    return str(Address("unix", path=os.path.abspath(address.path)))

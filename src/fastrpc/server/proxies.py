"""The trusted proxies of one server, and their connections that wait for a PROXY header."""

from typing import Any

from fastrpc._core.server.gate import Gate
from fastrpc._core.server.openings import Openings
from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address
from fastrpc.networks import ProxyNetworks
from fastrpc.server.edges import Edges
from fastrpc.server.proxied import ProxiedConnection
from fastrpc.transports.base import SessionFactory

__all__ = ["Proxies"]


class Proxies:
    """The trusted proxies of a server. Implements `fastrpc.server.proxied.ProxyRegister`."""

    def __init__(self, config: ServerConfig, gate: Gate, openings: Openings, edges: Edges | None) -> None:
        self._networks = ProxyNetworks(config.proxy_protocol)
        self.seconds = config.timeouts.handshake
        self._gate = gate
        self._openings = openings
        self._edges = edges
        #: The connections that wait for their header.
        self.waiting: set[ProxiedConnection] = set()
        self._is_shut = False

    def wrap(self, session_factory: SessionFactory, address: Address) -> SessionFactory:
        """Return a factory of connections at an address. Connections from a proxy first wait for the header."""
        if address.scheme in {"unix", "memory"}:
            return session_factory
        return lambda: ProxiedConnection(self, session_factory)

    def trusts(self, peer_name: Any) -> bool:
        """Return whether connections from this peer begin with a PROXY header."""
        return self._networks.contains(peer_name)

    def admits(self, peer_name: Any) -> bool:
        """Return whether the peer in a header may connect."""
        return self._edges is None or self._edges.admits_peer(peer_name)

    def enter(self, connection: ProxiedConnection) -> None:
        """Record that a connection waits for its header, or has received a part of the header."""
        if self._is_shut:
            connection.abort()
            return
        self.waiting.add(connection)
        self._openings.add_undecided(connection)

    def leave(self, connection: ProxiedConnection) -> None:
        """Record that a connection no longer waits for its header."""
        self.waiting.discard(connection)
        self._openings.leave_undecided(connection)

    def refuse(self, connection: ProxiedConnection, reason: str) -> None:
        """Log why a connection is closed."""
        dispatcher = self._gate.dispatcher
        dispatcher.stranger(dispatcher.describe_peer(connection), reason)

    def shut(self) -> None:
        """Close all waiting connections, because the server closes."""
        self._is_shut = True
        for connection in list(self.waiting):
            connection.abort()

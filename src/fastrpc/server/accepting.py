"""Open a server's connections: proxies, encryption, the protocol, the session."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from fastrpc._core.server.gate import Gate
from fastrpc._core.server.openings import Openings
from fastrpc._core.wire.settings import WireNumbers
from fastrpc.config import TLS, ServerConfig
from fastrpc.config.delays import silence_seconds
from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Address, Endpoint, is_local, relayed_host
from fastrpc.errors import ConfigError
from fastrpc.first_use import registered
from fastrpc.handlers.method_limits import limits_connections
from fastrpc.handlers.services import ServiceTable
from fastrpc.protocols.base import Protocol, ServerParts, server_protocols, server_stream
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.server.detection import Detection
from fastrpc.server.encryption import Encryption
from fastrpc.server.settings import server_settings
from fastrpc.transports.base import Listener, ListenOptions, SessionFactory, transport_for
from fastrpc.transports.edge import admitted

if TYPE_CHECKING:
    from fastrpc.server.edges import Edges
    from fastrpc.server.http.forwarded import TrustedProxies
    from fastrpc.server.proxies import Proxies
    from fastrpc.server.registrar import Advertise

__all__ = ["Accepting"]


#: The largest number of workers that a server can announce.
MOST_WORKERS = 65_535


class Accepting:
    """Creates the sessions of accepted connections, for all listeners of a server.

    Args:
        schemes: the schemes of credentials that the server announces.
    """

    def __init__(
        self, config: ServerConfig, numbers: WireNumbers, schemes: tuple[str, ...], spin_microseconds: int
    ) -> None:
        self._config = config
        self._spin_microseconds = spin_microseconds
        # The announced settings, shared by all connections.
        self._settings = server_settings(config, numbers)
        self._settings.auth_schemes = schemes
        self._protocols = server_protocols(config)
        #: Chooses the protocol of each connection by its first bytes; None with one protocol.
        self.detection = _detection_of(self._protocols, config)
        self._encryption = Encryption(config)
        self._gate: Gate | None = None
        self._services: Sequence[ServiceDefinition] = ()
        self._proxies: Proxies | None = None
        # The arguments of `begin_with`. `_begin` returns a factory of objects that handle connections before their
        # session; None without such objects.
        self._begin: Callable[[SessionFactory], SessionFactory] | None = None
        # Waits for the connections that those objects keep without a session; None if they keep none.
        self._kept: Callable[[], Awaitable[None]] | None = None
        # Returns whether those objects accept a peer's connection; None if they accept every connection.
        self._begin_admits: Callable[[Any], bool] | None = None
        # True if the process that accepts connections for `take` also checks their addresses.
        self._are_judged = False
        # Checks the addresses of peers; None to accept every peer.
        self._edges: Edges | None = None
        # Finds the clients behind HTTP proxies; None if no proxy is trusted.
        self._trusted: TrustedProxies | None = None
        # Finds the application at a path; None if no application is mounted.
        self._mounts: Callable[[bytes], Any] | None = None
        # The hosts in advertised addresses, by the address at which the server listens.
        self._advertised: dict[Address, str] = {}
        # Connections that were passed to `take` and have no session yet.
        self._taking: set[asyncio.Future[Any]] = set()
        #: The connections that are in their handshake; None before `begin`.
        self.openings: Openings | None = None

    def begin_with(
        self,
        wrap: Callable[[SessionFactory], SessionFactory],
        kept: Callable[[], Awaitable[None]] | None = None,
        admits: Callable[[Any], bool] | None = None,
    ) -> None:
        """Let an object handle each accepted connection before its session; see `Server.begin_with`."""
        self._begin, self._kept, self._begin_admits = wrap, kept, admits

    async def wait_kept(self) -> None:
        """Wait until all connections have ended that the objects of `begin_with` keep without a session."""
        if self._kept is not None:
            await self._kept()

    def announce_workers(self, workers: int) -> None:
        """Announce to clients how many processes share the connections. Call this before the first connection."""
        self._settings.workers = min(workers, MOST_WORKERS)

    def begin(self, served: ServiceTable) -> None:
        """Create sessions for the gate of these services from now on."""
        self._gate = served.gate
        # A live view: services may be added later.
        self._services = served.definitions
        self.openings = Openings(served.gate, self._config.admission.handshakes)
        if limits_connections(served.limits):
            # Imported on first use, because most servers accept every address.
            from fastrpc.server.edges import edges_of

            note = served.life.refused_at_edge
            self._edges = edges_of(served.limits, served.shared, self._config, note)
        if self._config.proxy_protocol:
            # Imported on first use, because most servers have no proxy.
            from fastrpc.server.proxies import Proxies

            self._proxies = Proxies(self._config, served.gate, self.openings, self._edges)
        if self._config.http.trusted_proxies:
            # Imported on first use, because most servers are not behind a proxy.
            from fastrpc.server.http.forwarded import TrustedProxies

            judge = None if self._edges is None else self._edges.refusal_of
            self._trusted = TrustedProxies(self._config.http.trusted_proxies, judge)

    async def open_mounts(self, served: ServiceTable) -> None:
        """Start the mounted applications, before the server listens. They shut down before the sources of services."""
        if self._config.http.mounts and "http" in self._config.protocols:
            # Loaded on first use, because few servers mount applications.
            mounts: Any = registered("server", "Mounts")(self._config, self._gate)
            await served.hold(mounts)
            self._mounts = mounts

    def check_services(self, services: Sequence[ServiceDefinition]) -> None:
        """Refuse services that one of the server's protocols cannot offer.

        Raises:
            ConfigError: a service's name has another meaning in a protocol, or a method cannot be a tool.
        """
        if "phobos" not in self._config.protocols and any(one.name == "" for one in services):
            raise ConfigError(
                "a service without a name has bare functions, which only Phobos offers",
                hint='add "phobos" to protocols, or name the service',
            )
        if "http" in self._config.protocols:
            # Imported on first use, because most servers do not speak HTTP.
            from fastrpc.server.http.fixed_paths import check_services

            check_services(self._config, services)

    def advertise(self, address: Address, advertise: "Advertise") -> "Advertise":
        """Store the name by which callers reach an address; return it parsed. Call this before the first connection."""
        if isinstance(advertise, str):
            advertise = Address.parse(advertise)
        named = advertise.address if isinstance(advertise, Endpoint) else advertise
        if not isinstance(named, Address):
            named = address
        if named.scheme == "relay":
            self._advertised[address] = relayed_host(named)
        elif named is not address:
            self._advertised[address] = named.host
        return advertise

    async def listen(
        self,
        address: Address,
        *,
        backlog: int,
        reuse_port: bool,
        bound: socket.socket | None,
        tls: TLS | None = None,
    ) -> Listener:
        """Accept connections at an address.

        Args:
            tls: the certificates of the listener; None means the server's certificates.

        Raises:
            OSError: the address is not available; the message names the address.
        """
        options = ListenOptions(
            backlog=backlog,
            reuse_port=reuse_port,
            socket=bound,
            silence_seconds=silence_seconds(self._config.keepalive),
            tls=tls or self._config.tls,
            agreed=self._encryption.agreed,
            wrap=None if self._proxies is None and self._begin is None else partial(self._begun, address),
            admits=self._judge(),
        )
        with ShownAtProgram():
            return await transport_for(address).listen(address, self.session_maker(address), options)

    def prepare(self, addresses: Mapping[Address, TLS | None], *, are_judged: bool = False) -> None:
        """Prepare for connections that another process accepts.

        Args:
            addresses: the addresses at which that process accepts connections, with certificates; None means the
                server's certificates.
            are_judged: True if that process checks the addresses of peers; otherwise this server checks them.

        Raises:
            ConfigError: a certificate file cannot be used.
        """
        self._are_judged = are_judged
        self._encryption.prepare(addresses)

    def reload(self) -> None:
        """Read the certificate files again now, for connections that another process accepts."""
        self._encryption.reload()

    async def take(self, connection: socket.socket, address: Address) -> None:
        """Serve a connection that another process accepted at `address`.

        Raises:
            OSError: the connection is already lost.
        """
        edges = None if self._are_judged else self._edges
        if edges is not None and not admitted(connection, edges.admits_connection):
            return
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        make = self._begun(address, self._encryption.wrapped(self.session_maker(address), address))
        taking = asyncio.ensure_future(loop.connect_accepted_socket(make, connection))
        self._taking.add(taking)
        taking.add_done_callback(self._taking.discard)
        await taking

    def _judge(self) -> Callable[[Any], bool] | None:
        """Return the function that accepts or refuses connections by peer address; None to accept all."""
        edge = None if self._edges is None else self._edges.admits_connection
        # Do not ask behind a proxy, where every peer has the proxy's address.
        own = self._begin_admits if self._proxies is None else None
        if edge is None or own is None:
            return edge or own
        return lambda peer_name: edge(peer_name) and own(peer_name)

    def _begun(self, address: Address, session_factory: SessionFactory) -> SessionFactory:
        """Return a factory of objects that handle connections before their session. A PROXY header is read first."""
        if self._begin is not None:
            session_factory = self._begin(session_factory)
        return session_factory if self._proxies is None else self._proxies.wrap(session_factory, address)

    def session_maker(self, address: Address) -> Callable[[], Any]:
        """Return a factory of the objects that read the bytes of connections at an address."""
        parts = self.parts_at(address)
        if self.detection is not None:
            return partial(self.detection.connection, parts)
        return partial(server_stream, self._protocols[0], parts)

    def parts_at(self, address: Address) -> ServerParts:
        """Return the objects that all connections at an address share."""
        assert self._gate is not None
        assert self.openings is not None
        allowed = self._config.reflection
        reveals = is_local(address) if allowed is None else allowed
        http = None
        config = self._config
        if "http" in config.protocols or config.http.grpc_web or config.http.connect:
            # Imported on first use, because most servers do not speak HTTP.
            from fastrpc.server.http.methods import http_service

            http = http_service(
                self._config,
                self._gate,
                address,
                self._services,
                reveals_services=reveals,
                advertised=self._advertised.get(address, ""),
                proxies=self._trusted,
            )
            http.mounts = self._mounts
        return ServerParts(
            loop=asyncio.get_running_loop(),
            gate=self._gate,
            openings=self.openings,
            config=self._config,
            settings=self._settings,
            spin_microseconds=self._spin_microseconds,
            reveals_services=reveals,
            http=http,
            proxies=self._trusted,
        )

    @property
    def undecided(self) -> int:
        """The number of connections without a session: just passed to `take`, or before their first bytes."""
        waiting = 0 if self._proxies is None else len(self._proxies.waiting)
        return len(self._taking) + waiting + (0 if self.detection is None else len(self.detection.undecided))

    def shut(self) -> None:
        """Close connections without a session, and all later connections."""
        if self.detection is not None:
            self.detection.shut()
        if self._proxies is not None:
            self._proxies.shut()

    async def taken(self) -> None:
        """Return once every connection that was passed to `take` has its session or has ended."""
        if self._taking:
            await asyncio.wait(self._taking)


def _detection_of(protocols: list[Protocol], config: ServerConfig) -> Detection | None:
    """Return the detection of a server's protocols; None if it has one protocol."""
    if len(protocols) == 1:
        return None
    if len(config.protocols) == 1:
        # The only configured protocol is HTTP: HTTP/1.1 answers everything that is not HTTP/2.
        return Detection(protocols[1:], config.http.limits.header_seconds, otherwise=protocols[0])
    return Detection(protocols, config.timeouts.handshake)

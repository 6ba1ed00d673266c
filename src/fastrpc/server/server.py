"""The server: listeners and their connections."""

import asyncio
import socket
import warnings
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from fastrpc.config.validation import check_timeout
from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Address, names_scopes
from fastrpc.errors import ConfigError
from fastrpc.first_use import PARTS, has_parts
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.transports.base import BACKLOG

if TYPE_CHECKING:
    from fastrpc._core.limiting.limiters import RateLimiter
    from fastrpc._core.server.gate import Gate
    from fastrpc.config import ServerConfig
    from fastrpc.handlers.auth.access_options import Authenticate, Authorize
    from fastrpc.limits import Limit
    from fastrpc.peers.peer import Peer
    from fastrpc.place import Place
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.rpc.definition import ServiceDefinition
    from fastrpc.rpc.interceptor import Interceptor
    from fastrpc.server.admin.state import ServerState
    from fastrpc.server.listening import WantedAddress
    from fastrpc.server.opened import OpenedServer
    from fastrpc.server.registrar import Advertise
    from fastrpc.server.watching import Ended
    from fastrpc.transports.base import SessionFactory

__all__ = ["Server"]

has_parts("fastrpc.server.parts")


class Server:
    """Serve the methods of services on any number of addresses.

    `async with` enters the sources, and drains at the end. A Server installs no signal handlers; `serve` does.

    Args:
        sources: instances of classes under `@service`; classes or functions that return such an instance when called
            without arguments; lists of these; or functions under `@contextlib.asynccontextmanager` that yield a list.
        interceptors: functions around every call, the first outermost.
        config: the settings, see `fastrpc.config`; None means the defaults.
        registry: the registry for every service while the server listens: a URL, which the server opens and closes; an
            object of `fastrpc.registries`, which its owner closes; or a list of these, which all receive the records.
        authenticate: identifies callers: an object of `fastrpc.auth`, or `async (Peer) -> Identity | None`. If given,
            every method without `public=True` needs an identity.
        authorize: decides which methods a caller may call: a `fastrpc.auth.Policy`, or a plain function
            `(Identity | None, Route) -> bool`.
        limits: the limits of callers, see `fastrpc.limits`.
        place: the place where the server runs, for its records; None means the place that the environment states.
        store: the URL of a store for scheduled methods and `current_store()`, which the server opens and closes.
        broker: the broker for subscribers and `current_broker()`: a URL, which the server opens and closes, or an open
            Broker, which its owner closes.
    """

    #: A function that also ends the process around this server; None for a server that only drains itself.
    _drain_by: Callable[[], None] | None = None
    _draining: asyncio.Task[bool] | None = None

    @explain_arguments("Server")
    def __init__(
        self,
        *sources: Any,
        config: "ServerConfig | None" = None,
        interceptors: "Sequence[Interceptor]" = (),
        registry: "RegistryOption | None" = None,
        authenticate: "Authenticate | None" = None,
        authorize: "Authorize | None" = None,
        limits: "Sequence[Limit]" = (),
        place: "Place | None" = None,
        store: str | None = None,
        broker: str | AbstractAsyncContextManager[Any] | None = None,
    ) -> None:
        with PARTS:  # The first server imports most of its modules.
            from fastrpc.server.background.work import ServerResources
            from fastrpc.server.parts import ServerAssembly

            parts = ServerAssembly(
                config,
                interceptors,
                registry,
                authenticate,
                authorize,
                limits,
                place,
                ServerResources(store, broker),
            )
        self._sources = list(sources)
        self._config = parts.config
        self._access, self.admin = parts.access, parts.admin
        self._life, self._ownership = parts.life, parts.ownership
        self._served, self._services = parts.served, parts.served.definitions
        self._accepting, self._listening = parts.accepting, parts.listening
        self._offer, self._health = parts.offer, parts.offer.health
        self._gate: Gate | None = None
        # A second start waits for the first, so that no call is served before all sources are entered.
        self._starting = asyncio.Lock()
        # Set last: if the arguments were refused, `__del__` must not warn.
        self._ending = parts.ending

    # Life

    def log_drain(self, level: int) -> None:
        """Set the log level of the drain, by default INFO. A supervisor of workers logs the drain itself."""
        self._life.level = level

    def share_limits(self, shared: "Sequence[RateLimiter | None]") -> None:
        """Count rates together with other processes, in limiters that were created before the fork."""
        self._served.shared = shared

    def tell_ends(self, tell: Callable[["Ended"], None]) -> None:
        """Set a function to call at the end of each request and call. Call this before the server starts."""
        # Imported on first use, because only `fastrpc dev` needs it.
        from fastrpc.server.watching import Ends

        self._served.watch = Ends(tell)

    def drain_by(self, drain: Callable[[], None]) -> None:
        """Let `begin_drain` call this function, which also ends the process around the server."""
        self._drain_by = drain

    def begin_drain(self) -> None:
        """Start to drain in the background, within the limits of `Timeouts`."""
        if self._drain_by is not None:
            self._drain_by()
        elif self._draining is None:
            self._draining = asyncio.ensure_future(self.drain())

    def admin_state(
        self, config: "ServerConfig", *, takes_connections: bool = False, keeps_recent: bool = True
    ) -> "ServerState":
        """Return the state for admin pages. The arguments are described in `ServerState`."""
        # Imported on first use, because most servers have no such pages.
        from fastrpc.server.admin.state import ServerState

        return ServerState(
            config, self.opened_parts(), self, takes_connections=takes_connections, keeps_recent=keeps_recent
        )

    def opened_parts(self) -> "OpenedServer":
        """Return the parts of the started server that workers, hosts and gateways use."""
        # Imported on first use, because most servers have none of these around them.
        from fastrpc.server.opened import OpenedServer

        assert self._gate is not None
        return OpenedServer(self._gate, self._served, self._offer, self._accepting, self._listening)

    def announce_workers(self, workers: int) -> None:
        """Announce to clients how many processes share the connections, including this one."""
        self._accepting.announce_workers(workers)

    def begin_with(
        self,
        wrap: "Callable[[SessionFactory], SessionFactory]",
        kept: "Callable[[], Awaitable[None]] | None" = None,
        admits: "Callable[[Any], bool] | None" = None,
    ) -> None:
        """Let an object handle each accepted connection before the server reads a byte. Call this before `listen`.

        Args:
            wrap: takes the server's factory of sessions; returns the factory of these objects. An object passes its
                connection to a session by `fastrpc.server.proxied.pass_on`.
            kept: waits until all connections have ended that the objects keep. A drain waits for this.
            admits: takes the peer's socket address; returns whether to accept the connection. Not called if PROXY
                headers name the peers.
        """
        self._accepting.begin_with(wrap, kept, admits)

    async def hold(self, context: AbstractAsyncContextManager[Any]) -> None:
        """Enter a context of the started server. It exits after the connections are closed, and before the sources."""
        await self._served.hold(context)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._ownership.is_of_parent:
            return
        self._check_use()
        try:
            await self.drain()
        finally:
            # Needed if the drain was cancelled or failed.
            await self.close()

    if not TYPE_CHECKING:
        # Only for the error text: type checkers refuse a plain `with`.

        def __enter__(self):
            raise TypeError(
                "a Server is entered by `async with Server(…)` (in code without a loop: `serve(…)`)"
            )

        def __exit__(self, kind, error, traceback):
            pass

    async def start(self) -> None:
        """Create and enter the sources. `async with` and `listen` call this. Starting twice is allowed."""
        async with self._starting:
            self._check_use()
            self._check_open()
            if self._gate is None:
                try:
                    with ShownAtProgram():
                        await self._start()
                    # The server may have been closed while the sources were being entered.
                    self._check_open()
                except BaseException:
                    # The entered sources have been exited, so a second start is possible.
                    self._gate = None
                    self._services.clear()
                    try:
                        await self._served.leave()
                    finally:
                        await self.admin.close()
                    raise

    def _check_use(self) -> None:
        self._ownership.check_use(is_started=self._gate is not None)

    def _check_open(self) -> None:
        if self._offer.is_closed:
            raise RuntimeError("this Server is closed; make a new one")

    def _check_taking(self) -> None:
        self._check_open()
        if self._health.is_draining:
            raise RuntimeError("this Server is draining; make a new one")

    async def _start(self) -> None:
        self._ownership.take()
        self._gate = self._served.make_gate()
        self._access.guard(self._gate, self._config.timeouts.handshake)
        self._accepting.begin(self._served)
        await self._offer.enter(self._sources)
        await self._accepting.open_mounts(self._served)
        await self.admin.open(self.admin_state)

    def reload(self) -> None:
        """Read the files of certificates, tokens and policies again now. Connections stay open."""
        self._listening.reload()
        self._accepting.reload()
        self.admin.reload()
        self._access.reload()

    def add(self, source: Any) -> None:
        """Serve another source, or a removed service again. A running server accepts only instances and functions.

        Raises:
            ConfigError: a method of that name is served already, or the source has an unknown kind.
        """
        if self._gate is None:
            self._sources.append(source)
        else:
            self._offer.add(source)

    async def remove(self, name: str, timeout: float | None = None) -> bool:
        """Stop serving a service, so that callers use other servers. `add` can bring it back.

        The record is withdrawn from the registry. For `Timeouts.announce` seconds calls are still served, so that
        clients can see the withdrawal. Later calls are refused before they start, as in a drain. When the running calls
        have ended, the context managers of its sources exit, unless they contain other services too.

        Args:
            name: the service, by any of its names.
            timeout: seconds for the running calls; None means `Timeouts.drain`.

        Returns:
            True if every call ended by itself; False if calls were cancelled.

        Raises:
            ConfigError: the server has no such service, or is removing it.
        """
        check_timeout(timeout, zero=True)
        self._check_use()
        self._check_taking()
        if self._gate is None:
            raise RuntimeError("this Server has not started")
        return await self._offer.remove(name, timeout, self._life)

    async def listen(
        self,
        address: str | Address,
        *,
        advertise: "Advertise" = None,
        backlog: int = BACKLOG,
        reuse_port: bool = False,
        socket: socket.socket | None = None,
        allow_plain: bool = False,
    ) -> Address:
        """Accept connections at an address; may be called several times.

        With a registry, it returns when the registry has accepted the records or is known to be unreachable.

        Args:
            address: such as `tcp://127.0.0.1:8972`, `tls://…` or `unix:///path`; `fd://NAME` and `fd://N` are a socket
                that a service manager or another parent passed, by its name in LISTEN_FDNAMES or its number; `any://`
                means an address in the process and one on the host, where clients of `any://` find the server.
            advertise: the address to register in place of the bound address: an address, with port 0 for the bound
                port; an Endpoint with weight, zone and labels; or False for no registration.
            backlog: the number of connections that may wait to be accepted.
            reuse_port: let several processes listen at one port. The system distributes the connections (tcp).
            socket: a bound socket on which to listen. The server then owns it (tcp, tls, unix).
            allow_plain: listen at `tcp://` beyond loopback although `ServerConfig.tls` is set.

        Returns:
            The bound address, with the real port in place of 0. Its `str()` is a target for a client.

        Raises:
            ConfigError: the address is invalid, no transport supports its scheme, it cannot be registered, or
                certificates are missing for it.
            StoreError: the registry refuses it.
            OSError: the address is not available; the message names the address.
        """
        address = Address.parse(address)
        if names_scopes(address):
            self._listening.refuse_options(
                address,
                advertise=advertise is not None,
                socket=socket is not None,
                reuse_port=reuse_port,
                allow_plain=allow_plain,
            )
            wanted = await self._wanted_in_scopes(address)
        else:
            wanted = [self._listening.wanted(address, advertise, socket, allow_plain)]
        await self.start()
        self._check_taking()
        bound = await self._listening.open(
            wanted, backlog=backlog, reuse_port=reuse_port, check=self._check_taking
        )
        assert self._gate is not None
        for one in bound:
            self._gate.dispatcher.listens(one)
            self._life.listening(one)
        return address if names_scopes(address) else bound[0]

    async def _wanted_in_scopes(self, address: Address) -> "list[WantedAddress]":
        """Return the addresses at which to listen for an address of all scopes."""
        await self.start()
        self._check_taking()
        return [
            self._listening.wanted(place.address, endpoint, None, False, tls=place.tls)
            for place, endpoint in self._offer.places(address)
        ]

    async def take(self, connection: socket.socket, address: Address) -> None:
        """Serve a connection that another process accepted at `address`. The server then owns the socket.

        Raises:
            OSError: the connection is already lost.
        """
        if not self._listening.is_shut:
            await self.start()
        if self._offer.is_closed:
            connection.close()
            return
        # Works even during a drain: the process that accepted the connection may not have known of the drain.
        await self._accepting.take(connection, address)

    async def serve_forever(self) -> None:
        """Serve until cancelled, or until another task drains or closes the server."""
        await self.start()
        await self._ending.quiet.wait()

    async def drain(self, timeout: float | None = None) -> bool:
        """Stop listening, let running calls finish, then close.

        The server first withdraws from the registry. It still serves new calls for `Timeouts.announce` seconds, so that
        clients can see the withdrawal. In a registry of rpcx the record has the label `state=inactive` for that time.

        Args:
            timeout: seconds for the calls; None means `Timeouts.drain`.

        Returns:
            True if every call ended by itself.
        """
        check_timeout(timeout, zero=True)
        self._check_use()
        if self._gate is None or self._offer.is_closed:
            await self.close()
            return True
        is_clean = await self._ending.drain(self._gate, timeout)
        await self.close()
        self._life.drained()
        return is_clean

    async def close(self) -> None:
        """Close listeners and connections immediately. Running calls are cancelled.

        Cancelling this aborts the connections. The sources always exit; cancelling again cancels their exits. Closing
        again returns immediately.
        """
        # After a fork, the sockets, the loop and its epoll set belong to the parent.
        if self._offer.is_closed or self._ownership.is_of_parent:
            return
        self._check_use()
        await self._ending.close(self._gate)

    # Health

    def set_serving(self, serving: bool, *, service: str | None = None) -> None:
        """Set the health of the server or of one service. Calls are served either way.

        `fastrpc.health` reports the health. A service that is not serving is withdrawn from the registry until it
        serves again. A service serves only if both the service and the whole server are set to serve.

        Raises:
            ConfigError: the running server has no such service, or `serving` is neither True nor False.
        """
        if not isinstance(serving, bool):
            raise ConfigError(f"serving is {serving!r}, it must be True or False")
        if self._gate is not None:
            self._check_use()
            self._health.check_name(service or "")
        self._health.set(serving, service or "")
        if self._gate is not None:
            self._offer.advertise_again()

    # State for users

    @property
    def services(self) -> "tuple[ServiceDefinition, ...]":
        """The services, without the built-in services; empty before the start."""
        return self._offer.services

    @property
    def scopes(self) -> dict[str, list[str]]:
        """The addresses for clients in each scope of `any://`; empty if the server does not listen at `any://`."""
        return self._offer.scopes()

    @property
    def is_draining(self) -> bool:
        """True if the server refuses new work."""
        return self._health.is_draining

    def peers(self) -> "list[Peer]":
        """Return the peers that are connected to this process now. Use `Peer.client` to call a peer with services.

        ::

            for peer in server.peers():
                if peer.client is not None:
                    await peer.client.notify(Feed.changed, "tea")
        """
        from fastrpc.server.connections import connected_peers

        self._ownership.check_process()
        return connected_peers(self._gate)

    def stats(self) -> dict[str, Any]:
        """Return gauges and totals as plain data. Without running calls, `live` and `buffered` are at their base."""
        from fastrpc.server.connections import connection_stats

        return connection_stats(self._gate)

    def __del__(self) -> None:
        if (
            getattr(self, "_ending", None)
            and self._listening.listeners
            and not self._offer.is_closed
            and self._ownership.is_of_this_process
        ):
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        places = ", ".join(str(listener.address) for listener in self._listening.listeners)
        return f"<Server at {places or 'no address yet'}>"

"""The asynchronous client."""

import asyncio
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.caller_view import CallerView, ViewState, process_generation
from fastrpc._core.loop.polling import allowed_spin
from fastrpc._core.wire.settings import WireNumbers, WireSettings
from fastrpc.client.call_runner import CallRunner
from fastrpc.client.credentials import ClientCredentials, CredentialSource, credentials_of
from fastrpc.client.fan_out import FanOut
from fastrpc.client.own_call import own_call
from fastrpc.client.pool import ConnectionPool
from fastrpc.client.probing import Prober
from fastrpc.client.reach_errors import not_known_in_time, not_ready_in_time
from fastrpc.client.refused_options import explain_options
from fastrpc.client.target import Target, endpoint_set_for, target_of
from fastrpc.client.wire import check_compressor, dialed_target
from fastrpc.codecs.base import check_codec
from fastrpc.compressors.base import compressor_named
from fastrpc.config import ClientConfig
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.failmodes.base import FailMode, RetryPolicy, fail_mode_for, is_sequential
from fastrpc.peers.options import address_of, checked_options
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.peers.stream_verbs import StreamVerbs
from fastrpc.rpc.interceptor import Interceptor, client_interceptors
from fastrpc.rpc.wire_numbers import announced, numbers_of_all
from fastrpc.selectors.base import Selector

if TYPE_CHECKING:
    from fastrpc.client.serving import ClientServices
    from fastrpc.registries.base.registry import RegistryOption

__all__ = [
    "Client",
    "OptionsCheck",
    "begin_view",
    "DEFAULT_FAIL_MODE",
    "checked_config",
    "checked_endpoints",
    "client_credentials",
    "client_settings",
    "client_stats",
    "name_of",
    "needs_runner",
    "prober_for",
    "refuse_view",
    "share_settings",
]

S = TypeVar("S")

_DEFAULT_CONFIG = ClientConfig()

#: With one endpoint it retries there, which is equally safe.
DEFAULT_FAIL_MODE = "failover"


class Client(Caller, FanOut, StreamVerbs):
    """Call the methods of one service, wherever it runs.

    The constructor does no I/O: the first call connects. A client belongs to the event loop of its first use.

    Args:
        target: an address such as `tcp://host:port`, `unix:///path` or `memory://name`; a list of addresses of equal
            servers; the URL of a service in a registry, such as `consul://host:8500/arith` or `dns://host:port`; or
            the name of a service, together with `registry`.
        registry: the registry that lists the endpoints: a URL without the service, an object of
            `fastrpc.registries`, or a list of them, see `fastrpc.registries.Merged`. Closing the client does not close
            such an object.
        selector: the rule that picks an endpoint for a call, by name or as an object, see `fastrpc.selectors`. The
            default is round robin.
        fail_mode: the rule for failed attempts, by name or as an object, see `fastrpc.failmodes`. The default retries
            on another endpoint if that is safe.
        interceptors: functions around every call, the first outermost; around calls of the services `side` is "server".
        credentials: a token that the client shows to its servers, or a function, `async () -> str`, which is asked for
            each connection, and again before a token expires.
        services: served on the connections of the client: instances, classes or functions as for `Server`. It then
            is entered by `async with`, which connects, keeps one connection to each endpoint, and drains at its end.
        config: the settings, see `fastrpc.config`; None: the defaults.

    Raises:
        ConfigError: the target is invalid, or this client cannot honour a setting.
    """

    @explain_options
    def __init__(
        self,
        target: str | Address | Endpoint | Sequence[str | Address | Endpoint],
        *,
        registry: "RegistryOption | None" = None,
        selector: str | Selector | None = None,
        fail_mode: str | FailMode | None = None,
        interceptors: Sequence[Interceptor] = (),
        credentials: CredentialSource | None = None,
        services: Sequence[Any] = (),
        config: ClientConfig | None = None,
    ) -> None:
        target, config = dialed_target(target, checked_config(config))
        interceptors = client_interceptors(interceptors)
        numbers = numbers_of_all()
        where = target_of(target, registry, config.tls)
        endpoint_set = endpoint_set_for(where, selector, config.pool)
        prober = prober_for(endpoint_set, config)
        settings = client_settings(config, numbers)
        serving = _client_services(services, config, interceptors, numbers)
        pool = ConnectionPool(
            where, endpoint_set, config, settings, self._connections_changed, prober, serving
        )
        pool.credentials = client_credentials(credentials, config, where)
        pool.spin_microseconds = allowed_spin(config.spin_microseconds, stacklevel=3)
        policy, mode = RetryPolicy(config.pool.retries), fail_mode_for(fail_mode or DEFAULT_FAIL_MODE)
        routes = RouteMaker(config, pool.totals)
        runner = CallRunner(pool, interceptors, policy, mode, routes)
        state = CallerState(runner, routes, policy.budget, endpoint_set)
        state.pool = pool
        self._unclosed = _Unclosed(pool)
        share_settings(state, config, numbers)
        state.needs_runner = needs_runner(endpoint_set, mode)
        state.chain = runner.chain if interceptors else None
        state.kind = Client
        state.check = OptionsCheck(where, wire=config.wire_protocol)
        begin_view(self, state, config)

    @property
    def _pool(self) -> ConnectionPool:
        return cast(ConnectionPool, self._state.pool)

    def _connections_changed(self) -> None:
        self._state.set_connections(self._pool.connections)

    async def __aenter__(self) -> Self:
        refuse_view(self, "entered")
        if self._pool.serving is not None:
            await self._begin_serving(self._pool.serving)
        self._state.use()
        if self._pool.serving is not None:
            await self._pool.try_all()
        return self

    async def _begin_serving(self, serving: "ClientServices") -> None:
        if self._state.is_of_parent:
            raise RuntimeError("this Client was used before the fork; create it in the child")
        self._pool.check_open()
        if not serving.is_entered:
            await serving.enter(self._pool.settings)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    if not TYPE_CHECKING:
        # Only for the message: type checkers already refuse a plain `with`.

        def __enter__(self):
            raise TypeError(
                "a Client is entered by `async with Client(…)` (in code without a loop: `with SyncClient(…)`)"
            )

        def __exit__(self, kind, error, traceback):
            pass

    async def ready(self, timeout: float | None = None) -> None:
        """Wait until one endpoint has completed the handshake.

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            DeadlineExceededError: no endpoint answered in time; the cause is the last error.
        """
        check_timeout(timeout, zero=True)
        self._state.use()
        with own_call():
            try:
                async with asyncio.timeout(timeout):
                    await self._pool.acquire(wait=True, ready=True)
            except TimeoutError:
                raise not_ready_in_time(timeout, self._pool)  # noqa: B904

    async def close(self) -> None:
        """Close all connections. Calls in flight fail; closing twice is allowed.

        Calls that the client serves may end first, within `Timeouts.drain`.
        """
        refuse_view(self, "closed")
        if self._state.is_of_parent:
            # Connections and loop belong to the parent, and so do their entries in its epoll set.
            return
        if self._state.loop is not None:
            if self._state.loop.is_closed():
                self._pool.abandon()
                return
            self._state.use()
        serving = self._pool.serving
        if serving is not None and not self._pool.is_closed:
            self._pool.dials.close()
            await serving.drain()
        await self._pool.close()
        if serving is not None:
            await serving.leave()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class.

        Every method is awaited, even one that the class defines with plain `def`. Static types are right only for
        `async def`; those of `call` are right for every class.
        """
        from fastrpc.peers.proxy import Proxy

        return cast(S, Proxy(self, contract))

    async def _endpoints_of(self, method: Any) -> list[Endpoint]:
        """Return all endpoints that calls of a method may go to."""
        route = name_of(method)
        self._state.use()
        try:
            async with asyncio.timeout(self._pool.config.timeouts.call):
                await self._pool.wait_list(route, wait=self.wait_for_ready)
        except TimeoutError:
            raise not_known_in_time(route, self._pool) from None
        return checked_endpoints(route, self._pool.endpoint_set, self._pool.wanted)

    def stats(self) -> dict[str, Any]:
        """Return the client's gauges and totals as plain data.

        `live` and `buffered` are gauges: without calls in flight they return to their base value. `totals` counts
        since the client was made: `calls`, `retries`, attempts that `succeeded` and `failed` (by status),
        `sent_bytes` and `received_bytes` of payloads, and `connections`. Probes (`Pool.probes`) are not counted.
        """
        stats = client_stats(self._pool.open_connections, self._pool.totals)
        if self._pool.serving is not None:
            stats["live"].update(self._pool.serving.stats())
        return stats

    def __repr__(self) -> str:
        return f"<Client of {self._pool.target}>"


class _Unclosed:
    """Warn when an unclosed client is collected. Its views, perhaps one for each call, do not warn."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._process = process_generation()

    def __del__(self) -> None:
        pool = self._pool
        # One that rests has nothing open.
        is_open = pool.is_used and not (pool.is_closed or pool.is_resting)
        if is_open and self._process == process_generation():
            warnings.warn(f"unclosed <Client of {pool.target}>", ResourceWarning, source=self, stacklevel=2)


class OptionsCheck:
    """Check the options of a view, for a client with a certain target.

    Args:
        fail_mode_for: returns the fail mode of an object or a name.
        wire: the protocol of all connections; None: each has its own.
    """

    def __init__(
        self,
        target: Target,
        fail_mode_for: Callable[[FailMode | str], FailMode] = fail_mode_for,
        *,
        wire: str | None = None,
    ) -> None:
        self._target = target
        self._wire = wire
        # The target's addresses, filled when a view first names an endpoint.
        self._addresses: frozenset[Address] = frozenset()
        self._fail_mode_for = fail_mode_for

    def __call__(self, options: Mapping[str, Any]) -> dict[str, Any]:
        self._check_routing(options)
        checked = checked_options(options)
        check_compressor(options.get("compressor"), self._wire)
        if checked.get("fail_mode") is not None:
            checked["fail_mode"] = self._fail_mode_for(checked["fail_mode"])
        return checked

    def _check_routing(self, options: Mapping[str, Any]) -> None:
        """Refuse an endpoint outside a fixed list. The list of a registry may still change until the call."""
        wanted = options.get("endpoint")
        if wanted is None or self._target.registry is not None:
            return
        address = address_of(wanted)
        if not self._addresses:
            self._addresses = frozenset(endpoint.address for endpoint in self._target.endpoints)
        if address not in self._addresses:
            raise ConfigError(f"endpoint is {address}, this client has {self._target}")


def checked_config(config: Any) -> ClientConfig:
    """Return the settings of a client after checking their type; the defaults for None."""
    if config is None:
        return _DEFAULT_CONFIG
    if not isinstance(config, ClientConfig):
        raise ConfigError(
            f"config is a {type(config).__name__}, it must be a ClientConfig",
            hint="write config=ClientConfig(…)",
        )
    return config


def _client_services(
    services: Any, config: ClientConfig, interceptors: Sequence[Interceptor], numbers: WireNumbers
) -> "ClientServices | None":
    """Return the services of a client; None if it only calls, as most do: those load nothing that serves."""
    if services == ():
        return None
    from fastrpc.client.serving import client_services

    return client_services(services, config, interceptors, numbers)


def share_settings(state: ViewState, config: ClientConfig, numbers: WireNumbers) -> None:
    """Give the state of a client the settings that its calls read."""
    state.default_timeout_ns = int((config.timeouts.call or 0) * 1e9)
    state.compress_above = config.compress_above
    state.message_limit = config.limits.message_bytes
    state.numbers = numbers


def begin_view(client: CallerView, state: ViewState, config: ClientConfig) -> None:
    """Attach a new client to its state, with the codec and the compressor of its settings."""
    check_codec(config.codec)
    client._share(state, config.codec)
    check_compressor(config.compressor, config.wire_protocol)
    if config.compressor is not None:
        client._set_options({"compressor": compressor_named(config.compressor)})


def refuse_view(client: CallerView, what: str) -> None:
    """Raise TypeError for a view, which shares the life of its client."""
    if client._is_view:
        raise TypeError(f"a view made by with_options() cannot be {what}; use the client itself")


def prober_for(endpoint_set: EndpointSet | None, config: ClientConfig) -> Prober | None:
    """Return the prober of a client; None unless probes are configured and there is an endpoint set."""
    settings = config.pool.probes
    if endpoint_set is None or settings is None:
        return None
    return Prober(settings, endpoint_set, config, RouteMaker(config, CallTotals()))


def needs_runner(endpoint_set: EndpointSet | None, mode: FailMode) -> bool:
    """Return whether first attempts need the call runner.

    A user-defined selector may read the whole call, which is complete only there. A fail mode that does not begin
    with a single attempt has to run first.
    """
    return (endpoint_set is not None and endpoint_set.selector.needs_whole_call) or not is_sequential(mode)


def name_of(method: Any) -> str:
    """Return the full name of a method given as a text or a function."""
    if isinstance(method, str):
        return method
    from fastrpc.rpc.service import method_definition

    return method_definition(method).full_name


def checked_endpoints(
    method: str, endpoint_set: EndpointSet | None, subchannels: Sequence[Any]
) -> list[Endpoint]:
    """Return the endpoints of subchannels; raise the endpoint set's error if there are none."""
    if not subchannels and endpoint_set is not None:
        raise endpoint_set.no_endpoint(method)
    return [subchannel.endpoint for subchannel in subchannels]


def client_credentials(source: Any, config: ClientConfig, target: Target) -> ClientCredentials | None:
    """Return the credentials of a client; ConfigError for a token that would travel in the clear."""
    found = credentials_of(source, allows_plain=config.allow_insecure_credentials)
    if found is not None:
        for endpoint in target.endpoints:
            found.check(endpoint.address)
    return found


def client_settings(config: ClientConfig, numbers: WireNumbers, *, reads_always: bool = True) -> WireSettings:
    """Return the settings that a client announces; one with services announces later that it serves calls.

    A client that reads only while it waits does not promise to answer PING.
    """
    settings = announced(WireSettings(False), config, numbers)
    settings.open_messages = config.memory.open_messages
    if not reads_always:
        settings.ping_reply_ms = 0
    return settings


def client_stats(connections: Sequence[Any], totals: Any) -> dict[str, Any]:
    """Return the sums over the open connections of a client, and its totals."""
    # The figures of a blocking client first read its input, which may be its end.
    found = [(connection.stats(), connection) for connection in connections]
    parts = [part for part, connection in found if not connection.is_closed]
    return {
        "live": {
            "connections": len(parts),
            "calls": sum(part["calls"] for part in parts),
            "waiting": sum(part["waiting"] for part in parts),
        },
        "buffered": sum(part["buffered"] for part in parts),
        "credit": [part["credit"] for part in parts],
        "totals": totals.snapshot(),
    }

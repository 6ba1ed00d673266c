"""The parts of a client. The first client of a program imports their modules.

Both kinds of clients check their arguments and make most of their parts in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.base.histogram import CallTotals
from fastrpc._core.client.caller_state import CallerState
from fastrpc._core.client.caller_view import ViewState
from fastrpc._core.loop.polling import allowed_spin
from fastrpc._core.wire.settings import WireNumbers, WireSettings
from fastrpc.client.call_runner import CallRunner
from fastrpc.client.credentials import ClientCredentials, credentials_of
from fastrpc.client.pool import ConnectionPool
from fastrpc.client.target import Target, endpoint_set_for, target_of
from fastrpc.client.wire import check_compressor, dialed_target
from fastrpc.codecs.base import check_codec
from fastrpc.compressors.base import compressor_named
from fastrpc.config import ClientConfig
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.failmodes.base import FailMode, RetryPolicy, fail_mode_for, is_sequential
from fastrpc.peers.options import address_of, checked_options
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.rpc.interceptor import Interceptor, client_interceptors
from fastrpc.rpc.wire_numbers import announced, numbers_of_all
from fastrpc.selectors.base import Selector

if TYPE_CHECKING:
    from fastrpc.client.probing import Prober
    from fastrpc.client.serving import ClientServices
    from fastrpc.registries.base.registry import RegistryOption

__all__ = [
    "DEFAULT_FAIL_MODE",
    "OptionsCheck",
    "checked_config",
    "checked_endpoints",
    "client_credentials",
    "client_settings",
    "client_state",
    "client_stats",
    "first_options",
    "name_of",
    "needs_runner",
    "placed",
    "share_settings",
]

_DEFAULT_CONFIG = ClientConfig()

#: With one endpoint "failover" retries at the same endpoint, which is equally safe.
DEFAULT_FAIL_MODE = "failover"

#: The stack level of warnings: the number of frames between a warning and the program's call of the constructor.
_STACK_LEVEL = 4


def placed(target: Any, registry: "RegistryOption | None", config: Any) -> tuple[Target, ClientConfig]:
    """Return the target of a client, and its settings after checks; config None: the defaults."""
    target, config = dialed_target(target, checked_config(config))
    return target_of(target, registry, config.tls), config


def client_state(
    where: Target,
    config: ClientConfig,
    selector: str | Selector | None,
    fail_mode: str | FailMode | None,
    interceptors: Sequence[Interceptor],
    services: Sequence[Any],
) -> CallerState:
    """Return the state of a new `Client`, with its connections."""
    interceptors = client_interceptors(interceptors)
    numbers = numbers_of_all()
    endpoint_set = endpoint_set_for(where, selector, config.pool)
    prober = _prober_for(endpoint_set, config)
    settings = client_settings(config, numbers)
    serving = _client_services(services, config, interceptors, numbers)
    pool = ConnectionPool(where, endpoint_set, config, settings, prober, serving)
    pool.connector.spin_microseconds = allowed_spin(config.spin_microseconds, stacklevel=_STACK_LEVEL)
    policy, mode = RetryPolicy(config.pool.retries), fail_mode_for(fail_mode or DEFAULT_FAIL_MODE)
    routes = RouteMaker(config, pool.totals)
    runner = CallRunner(pool, interceptors, policy, mode, routes)
    state = CallerState(runner, routes, policy.budget, endpoint_set)
    state.pool = pool
    share_settings(state, config, numbers)
    state.needs_runner = needs_runner(endpoint_set, mode)
    state.chain = runner.chain if interceptors else None
    state.check = OptionsCheck(where, wire=config.wire_protocol)
    return state


class OptionsCheck:
    """Checks the options of a client's views.

    Args:
        fail_mode_for: returns the fail mode of an object or a name.
        wire: the protocol of all connections; None: each connection has its own.
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
    """Return the settings of a client after checking their type; config None: the defaults."""
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
    """Return the services of a client; None if it only calls. Most clients only call, and load no serving code."""
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


def first_options(config: ClientConfig) -> dict[str, Any]:
    """Return the options of a new client from its settings, except the codec, which is checked separately."""
    check_codec(config.codec)
    check_compressor(config.compressor, config.wire_protocol)
    return {} if config.compressor is None else {"compressor": compressor_named(config.compressor)}


def _prober_for(endpoint_set: EndpointSet | None, config: ClientConfig) -> "Prober | None":
    """Return the prober of a client; None unless probes are configured and there is an endpoint set."""
    settings = config.pool.probes
    if endpoint_set is None or settings is None:
        return None
    from fastrpc.client.probing import Prober

    return Prober(settings, endpoint_set, config, RouteMaker(config, CallTotals()))


def needs_runner(endpoint_set: EndpointSet | None, mode: FailMode) -> bool:
    """Return whether first attempts need the call runner.

    A user-defined selector may read the whole call, which only the runner completes. A fail mode that does not begin
    with a single attempt has to run before the pick.
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
    """Return the settings that a client announces; a client with services announces later that it serves calls.

    A client that reads only while it waits does not promise to answer PING.
    """
    settings = announced(WireSettings(False), config, numbers)
    settings.open_messages = config.memory.open_messages
    if not reads_always:
        settings.ping_reply_ms = 0
    return settings


def client_stats(connections: Sequence[Any], totals: Any) -> dict[str, Any]:
    """Return the sums over the open connections of a client, and its totals."""
    # Reading the figures of a blocking client first reads input, which may contain the end of the connection.
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

"""The asynchronous client."""

import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from fastrpc._core.client.caller import Caller
from fastrpc._core.client.caller_view import process_generation
from fastrpc.client.fan_out import FanOut
from fastrpc.client.refused_options import explain_options
from fastrpc.first_use import PARTS, has_parts
from fastrpc.peers.outcomes import own_call
from fastrpc.peers.stream_verbs import StreamVerbs
from fastrpc.rpc.options import refuse_view
from fastrpc.time_limit import time_limit

if TYPE_CHECKING:
    from fastrpc.client.credentials import CredentialSource
    from fastrpc.client.pool import ConnectionPool
    from fastrpc.client.serving import ClientServices
    from fastrpc.config import ClientConfig
    from fastrpc.endpoint import Address, Endpoint
    from fastrpc.failmodes.base import FailMode
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.rpc.interceptor import Interceptor
    from fastrpc.selectors.base import Selector

__all__ = ["Client"]

S = TypeVar("S")

has_parts("fastrpc.client.parts")


class Client(Caller, FanOut, StreamVerbs):
    """Call the methods of one service, wherever it runs.

    The constructor does no I/O: the first call connects. A client belongs to the event loop of its first use.

    Args:
        target: an address such as `tcp://host:port`, `unix:///path` or `memory://name`; a list of addresses of equal
            servers; the URL of a service in a registry, such as `consul://host:8500/arith` or `dns://host:port`; or
            the name of a service, together with `registry`.
        registry: the registry that lists the endpoints: a URL without the service, an object of `fastrpc.registries`,
            or a list of them, see `fastrpc.registries.Merged`. Closing the client does not close a registry that was
            given as an object.
        selector: the rule that picks an endpoint for a call, by name or as an object, see `fastrpc.selectors`. The
            default is round robin.
        fail_mode: the rule for failed attempts, by name or as an object, see `fastrpc.failmodes`. The default retries
            on another endpoint if that is safe.
        interceptors: functions around every call, the first outermost; around calls that servers make to `services`,
            `side` is "server".
        credentials: a token that the client shows to its servers, or a function, `async () -> str`, which is called for
            each connection, and again before a token expires.
        services: the services that the client offers on its connections: instances, classes or functions as for
            `Server`. The client is then entered by `async with`, which connects, keeps one connection to each endpoint,
            and drains at its end.
        config: the settings, see `fastrpc.config`; None: the defaults.

    Raises:
        ConfigError: the target is invalid, or this client cannot honour a setting.
    """

    @explain_options
    def __init__(
        self,
        target: "str | Address | Endpoint | Sequence[str | Address | Endpoint]",
        *,
        registry: "RegistryOption | None" = None,
        selector: "str | Selector | None" = None,
        fail_mode: "str | FailMode | None" = None,
        interceptors: "Sequence[Interceptor]" = (),
        credentials: "CredentialSource | None" = None,
        services: Sequence[Any] = (),
        config: "ClientConfig | None" = None,
    ) -> None:
        with PARTS:  # The first client imports most of its modules.
            from fastrpc.client.credentials import TOKEN_HINT
            from fastrpc.client.parts import client_credentials, client_state, first_options, placed

            where, config = placed(target, registry, config)
            state = client_state(where, config, selector, fail_mode, interceptors, services)
            options = first_options(config)
            self._share(state, config.codec)
            self._set_options(options)
            pool: ConnectionPool = state.pool
            pool.on_change = self._connections_changed
            pool.connector.credentials = client_credentials(credentials, config, where)
        self._state.kind = Client
        self._state.token_hint = TOKEN_HINT if pool.connector.credentials is None else None
        self._unclosed = _Unclosed(pool)

    @property
    def _pool(self) -> "ConnectionPool":
        return cast("ConnectionPool", self._state.pool)

    def _connections_changed(self) -> None:
        self._state.set_connections(self._pool.connections)

    async def __aenter__(self) -> Self:
        refuse_view(self._is_view, "entered")
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
        # These methods only raise an error with a clear message: type checkers already refuse a plain `with`.

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
        from fastrpc.client.reach_errors import not_ready_in_time
        from fastrpc.config.validation import check_timeout

        check_timeout(timeout, zero=True)
        self._state.use()
        with own_call():
            try:
                async with time_limit(timeout):
                    await self._pool.acquire(wait=True, ready=True)
            except TimeoutError:
                raise not_ready_in_time(timeout, self._pool)  # noqa: B904

    async def close(self) -> None:
        """Close all connections. Calls in flight fail; closing twice is allowed.

        Calls that the client serves may finish first, within `Timeouts.drain`.
        """
        refuse_view(self._is_view, "closed")
        if self._state.is_of_parent:
            # Connections and loop belong to the parent, and so do their entries in the loop's epoll set.
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

        Every method is awaited, even if the class defines it with plain `def`. The static types are right only for
        `async def`; the types of `call` are right for every class.
        """
        from fastrpc.peers.proxy import Proxy

        return cast(S, Proxy(self, contract))

    async def _endpoints_of(self, method: Any) -> "list[Endpoint]":
        """Return all endpoints that calls of a method may go to."""
        from fastrpc.client.parts import checked_endpoints, name_of
        from fastrpc.client.reach_errors import not_known_in_time

        route = name_of(method)
        self._state.use()
        try:
            async with time_limit(self._pool.config.timeouts.call):
                await self._pool.wait_list(route, wait=self.wait_for_ready)
        except TimeoutError:
            raise not_known_in_time(route, self._pool) from None
        return checked_endpoints(route, self._pool.endpoint_set, self._pool.reached)

    def stats(self) -> dict[str, Any]:
        """Return the client's gauges and totals as plain data.

        `live` and `buffered` are gauges: without calls in flight they return to their base value. `totals` counts
        since the client was made: `calls`, `retries`, attempts that `succeeded` and `failed` (by status),
        `sent_bytes` and `received_bytes` of payloads, and `connections`. Probes (`Pool.probes`) are not counted.
        """
        from fastrpc.client.parts import client_stats

        stats = client_stats(self._pool.open_connections, self._pool.totals)
        if self._pool.serving is not None:
            stats["live"].update(self._pool.serving.stats())
        return stats

    def __repr__(self) -> str:
        return f"<Client of {self._pool.target}>"


class _Unclosed:
    """Warns when an unclosed client is collected. Views do not warn: a program may make one for each call."""

    def __init__(self, pool: "ConnectionPool") -> None:
        self._pool = pool
        self._process = process_generation()

    def __del__(self) -> None:
        pool = self._pool
        # A pool that rests has no open connection.
        is_open = pool.is_used and not (pool.is_closed or pool.is_resting)
        if is_open and self._process == process_generation():
            warnings.warn(f"unclosed <Client of {pool.target}>", ResourceWarning, source=self, stacklevel=2)

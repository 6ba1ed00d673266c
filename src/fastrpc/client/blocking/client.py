"""The blocking client.

It neither hedges nor probes: its constructor refuses both settings. To hedge, one thread would have to wait for two
connections, which other threads may be reading; and between calls there is no thread to probe.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from fastrpc._core.client.blocking_caller import BlockingCaller
from fastrpc._core.client.blocking_state import BlockingState
from fastrpc._core.loop.polling import allowed_spin
from fastrpc.client.blocking.call_runner import SyncCallRunner
from fastrpc.client.blocking.pool import SyncHome, SyncPool
from fastrpc.client.blocking.stream_verbs import BlockingStreamVerbs
from fastrpc.client.client import (
    DEFAULT_FAIL_MODE,
    OptionsCheck,
    begin_view,
    checked_config,
    checked_endpoints,
    client_credentials,
    client_settings,
    client_stats,
    name_of,
    needs_runner,
    refuse_view,
    share_settings,
)
from fastrpc.client.credentials import CredentialSource
from fastrpc.client.endpoint_plan import CROWD_CALLS, MOST_AUTOMATIC
from fastrpc.client.fan_out import BlockingFanOut
from fastrpc.client.own_call import own_call
from fastrpc.client.reach_errors import not_known_in_time, not_ready_in_time
from fastrpc.client.refused_options import explain_options
from fastrpc.client.target import endpoint_set_for, target_of
from fastrpc.client.wire import dialed_target
from fastrpc.config import ClientConfig
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError
from fastrpc.failmodes.base import FailMode, RetryPolicy, blocking_fail_mode_for
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.rpc.interceptor import Interceptor, client_interceptors
from fastrpc.rpc.wire_numbers import numbers_of_all
from fastrpc.selectors.base import Selector

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption

__all__ = ["SyncClient", "SyncParts", "parts_of"]

S = TypeVar("S")


class SyncClient(BlockingCaller, BlockingStreamVerbs, BlockingFanOut):
    """Call the methods of one service from blocking code; any number of threads may share a client.

    It has no event loop and no thread of its own: a thread that waits for an answer sends and receives for the other
    threads, too, and releases the GIL while it waits. The constructor does no I/O: the first call connects.

    It may be used in the child of a fork, whether or not the parent used it: the child makes its own connections, and
    the parent's stay as they are. A signal handler that calls a client in which its thread waits gets a RuntimeError.

    Args:
        target, registry, selector: as for `Client`.
        fail_mode: as for `Client`, except `"failbackup"`: a thread makes one attempt at a time, so it cannot hedge.
        interceptors: functions around every call, the first outermost. They run without a loop: they may await
            `proceed`, each other and `call.sleep(seconds)`, nothing else.
        credentials: a token that the client shows to its servers, or a function that returns one; it is asked for each
            connection, and a connection is replaced before its token expires.
        config: the settings, see `fastrpc.config`; None: the defaults. `Pool.probes` is refused.

    Raises:
        ConfigError: the target is invalid, or this client cannot honour a setting or the fail mode.
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
        config: ClientConfig | None = None,
    ) -> None:
        parts = parts_of(
            None,
            target=target,
            registry=registry,
            selector=selector,
            fail_mode=fail_mode,
            interceptors=interceptors,
            credentials=credentials,
            config=config,
        )
        self._begin(parts)

    def _begin(self, parts: "SyncParts") -> None:
        """Make the state of a new client, and its parts."""
        config = parts.config
        width = config.pool.connections_per_endpoint
        state = BlockingState(MOST_AUTOMATIC, CROWD_CALLS) if width == "auto" else BlockingState(width)
        share_settings(state, config, numbers_of_all())
        state.kind = SyncClient
        parts.give(state)
        state.remake = partial(parts.renew, state)
        begin_view(self, state, config)

    @property
    def _pool(self) -> SyncPool:
        return cast(SyncPool, self._state.pool)

    def __enter__(self) -> Self:
        refuse_view(self, "entered")
        self._state.use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:
        # Only for the message: type checkers already refuse `async with`.

        async def __aenter__(self):
            raise TypeError(
                "a SyncClient is entered by `with SyncClient(…)` (on a loop: `async with Client(…)`)"
            )

        async def __aexit__(self, kind, error, traceback):
            pass

    def ready(self, timeout: float | None = None) -> None:
        """Wait until one endpoint has completed the handshake, and connect the warm endpoints (`Pool.warm`).

        Args:
            timeout: seconds; None waits without limit.

        Raises:
            DeadlineExceededError: no endpoint answered in time; the message names every address and its last error.
        """
        check_timeout(timeout, zero=True)
        self._state.use()
        with own_call():
            until = None if timeout is None else time.monotonic() + timeout
            while until is None or time.monotonic() < until:
                try:
                    self._pool.follow()
                    self._pool.wait_list("ready", until, wait=True)
                    if self._pool.acquire(until, wait=True).wait_ready(until):
                        self._pool.warm_up(until)
                        return
                except TimeoutError:
                    break
            raise not_ready_in_time(timeout, self._pool)

    def close(self) -> None:
        """Close all connections. Calls of other threads fail; closing twice is allowed."""
        refuse_view(self, "closed")
        if self._state.is_of_parent:
            # Connections and registry belong to the parent, and a lock may be held by a thread that the child lacks.
            self._pool.detach()
            return
        self._pool.close()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class.

        Every method blocks and returns the answer, even one that the class defines with `async def`; there type
        checkers expect a coroutine. So a proxy is typed right for classes with plain `def`, and `call` for every
        class. A contract may use plain `def` although its service is asynchronous::

            @fastrpc.service("prices")
            class Prices(Protocol):
                @fastrpc.method
                def price(self, item: str) -> int: ...

            @fastrpc.service("prices", implements=Prices)
            class PricesFromStore:
                async def price(self, item: str) -> int:
                    return len(item)

            client.bind(Prices).price("tea")
        """
        from fastrpc.peers.proxy import Proxy

        return cast(S, Proxy(self, contract))

    def _endpoints_of(self, method: Any) -> list[Endpoint]:
        """Return all endpoints that calls of a method may go to."""
        name = name_of(method)
        self._state.use()
        self._pool.follow()
        timeout = self._pool.config.timeouts.call
        try:
            until = None if timeout is None else time.monotonic() + timeout
            self._pool.wait_list(name, until, wait=self.wait_for_ready)
        except TimeoutError:
            raise not_known_in_time(name, self._pool) from None
        return checked_endpoints(name, self._pool.endpoint_set, self._pool.wanted)

    def stats(self) -> dict[str, Any]:
        """Return the client's gauges and totals as plain data.

        `live` and `buffered` are gauges: without calls in flight they return to their base value. `totals` counts
        since the client was made: `calls`, `retries`, attempts that `succeeded` and `failed` (by status),
        `sent_bytes` and `received_bytes` of payloads, and `connections`.
        """
        if self._state.is_of_parent:
            self._state.use()
        return client_stats(self._pool.connections, self._pool.totals)

    def __repr__(self) -> str:
        return f"<SyncClient of {self._pool}>"


@dataclass(frozen=True, slots=True)
class SyncParts:
    """The constructor arguments of a client, from which its parts are made, and remade in the child of a fork."""

    #: These two may be URLs with a token.
    target: Any = field(repr=False)
    registry: Any = field(repr=False)
    selector: Any
    fail_mode: Any
    interceptors: Sequence[Interceptor]
    config: ClientConfig
    spin_microseconds: int
    credentials: Any = field(repr=False)
    #: The `SyncServices` that has this client; None for a client of its own.
    home: SyncHome | None = None

    def give(self, state: BlockingState) -> SyncPool:
        """Make the parts and install them in the client's state."""
        config = self.config
        registry = self.registry if self.home is None else self.home.registry
        where = target_of(self.target, registry, config.tls)
        endpoint_set = endpoint_set_for(where, self.selector, config.pool)
        settings = client_settings(config, state.numbers, reads_always=False)
        pool = SyncPool(where, endpoint_set, config, settings, self.home)
        state.record_of = None if self.home is None else pool.record_of
        pool.dialer.spin_microseconds = self.spin_microseconds
        pool.dialer.credentials = client_credentials(self.credentials, config, where)
        pool.on_change, pool.on_need = state.set_connections, state.look_now
        pool.on_width = lambda width: setattr(state, "width", width)
        routes = RouteMaker(config, pool.totals)
        policy, mode = (
            RetryPolicy(config.pool.retries),
            blocking_fail_mode_for(self.fail_mode or DEFAULT_FAIL_MODE),
        )
        runner = SyncCallRunner(pool, self.interceptors, policy, mode, routes)
        state.take_parts(runner, routes, pool.reentry, policy.budget, endpoint_set)
        state.pool = pool
        state.needs_runner = needs_runner(endpoint_set, mode)
        state.chain = runner.chain if self.interceptors else None
        state.follows = where.registry is not None
        state.check = OptionsCheck(where, blocking_fail_mode_for, wire=self.config.wire_protocol)
        return pool

    def renew(self, state: BlockingState) -> None:
        """Make the parts again, in the child of a fork.

        Raises:
            RuntimeError: the registry is an object that was used before the fork: its threads belong to the parent.
        """
        left = cast(SyncPool, state.pool)
        was_closed = left.is_closed
        is_renewed = left.target.owns_registry or (self.home is not None and self.home.owns_registry)
        if left.is_watching and not is_renewed and not was_closed:
            raise RuntimeError(
                f"{left.target.registry!r} was used before the fork, and its threads belong to the parent "
                "(give the client the URL of the registry: each process then opens its own)"
            )
        left.detach()
        renewed = self.give(state)
        renewed.is_closed, renewed.owner = was_closed, left.owner
        if renewed.endpoint_set is not None:
            renewed.endpoint_set.reseed()


def parts_of(
    home: SyncHome | None, *, target: Any, config: Any, interceptors: Any, **given: Any
) -> SyncParts:
    """Return the parts of the constructor's arguments, after checking them.

    Raises:
        ConfigError: the client cannot honour one.
    """
    target, config = dialed_target(target, checked_config(config))
    if config.pool.probes is not None:
        raise ConfigError(
            "Pool.probes is set, but a SyncClient has no loop that could send probes between calls",
            hint="leave probes out here, or use a Client; breaker and outlier judge by the calls",
        )
    return SyncParts(
        target=target,
        interceptors=client_interceptors(interceptors),
        config=config,
        spin_microseconds=allowed_spin(config.spin_microseconds, stacklevel=4),
        home=home,
        **given,
    )

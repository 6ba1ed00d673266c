"""The blocking client."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from fastrpc._core.blocking_caller import BlockingCaller, BlockingState
from fastrpc._core.spinner import allowed_spin
from fastrpc.client.client import (
    DEFAULT_FAIL_MODE,
    OptionsCheck,
    Proxy,
    RouteMaker,
    check_config,
    checked_endpoints,
    client_settings,
    client_stats,
    name_of,
    needs_runner,
)
from fastrpc.client.everywhere import BlockingEverywhere
from fastrpc.client.link_rules import REACH_HINT
from fastrpc.client.sync_balancer import SyncBalancer
from fastrpc.client.sync_pool import SyncPool
from fastrpc.client.target import fleet_for, target_of
from fastrpc.codecs.base import codec_named
from fastrpc.compressors.base import compressor_named
from fastrpc.config import ClientConfig
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConfigError, DeadlineExceededError
from fastrpc.failmodes.base import FailMode, RetryPolicy, blocking_fail_mode_for
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.wire_numbers import numbers_of_all
from fastrpc.selectors.base import Selector

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import Registry

__all__ = ["SyncClient"]

S = TypeVar("S")

_DEFAULT_CONFIG = ClientConfig()


class SyncClient(BlockingCaller, BlockingEverywhere):
    """Calls the methods of one service from ordinary, blocking code; any number of threads may share it.

    It has no event loop and no thread of its own: the thread that waits for an answer sends and receives, for the
    others too, and gives up the GIL while it waits. Making one does no I/O: the first call connects.

    Args:
        target, registry, selector: as for `Client`.
        fail_mode: as for `Client`, but for `"failbackup"`: a thread makes one attempt at a time, so nothing is hedged.
        interceptors: functions around every call, the first outermost. They run without a loop: besides `proceed`
            and each other they may await `call.sleep(seconds)` only.
        config: settings as a value, see `fastrpc.config`; all but `Pool.probes`.

    Raises:
        ConfigError: the target is none, or a setting or the fail mode cannot be met here.
    """

    def __init__(
        self,
        target: str | Address | Endpoint | Sequence[str | Address | Endpoint],
        *,
        registry: "str | Registry | None" = None,
        selector: str | Selector | None = None,
        fail_mode: str | FailMode | None = None,
        interceptors: Sequence[Interceptor] = (),
        config: ClientConfig = _DEFAULT_CONFIG,
    ) -> None:
        _check_probes(check_config(config))
        where = target_of(target, registry)
        fleet = fleet_for(where, selector, config.pool)
        pool = SyncPool(where, fleet, config, client_settings(config, reads_always=False))
        pool.spin_microseconds = allowed_spin(config.spin_microseconds)
        policy, mode = (
            RetryPolicy(config.pool.retries),
            blocking_fail_mode_for(fail_mode or DEFAULT_FAIL_MODE),
        )
        state = BlockingState(
            SyncBalancer(pool, interceptors, policy, mode),
            RouteMaker(config, pool.totals),
            config.pool.connections_per_endpoint,
            policy.budget,
            fleet,
        )
        state.pool = pool
        pool.on_change, pool.on_need = state.set_sessions, state.look_now
        state.default_timeout_ns = int((config.timeouts.call or 0) * 1e9)
        state.compress_above = config.compress_above
        state.numbers = numbers_of_all()
        state.message_limit = config.limits.message_bytes
        state.needs_runner = bool(interceptors) or needs_runner(fleet, mode)
        state.follows = where.registry is not None
        state.kind = SyncClient
        state.check = OptionsCheck(where, blocking_fail_mode_for)
        codec_named(config.codec)
        self.share(state, config.codec)
        if config.compressor is not None:
            self.set_options({"compressor": compressor_named(config.compressor)})

    @property
    def _pool(self) -> SyncPool:
        return cast(SyncPool, self.state.pool)

    def __enter__(self) -> Self:
        self._refuse_view("entered")
        self.state.use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ready(self, timeout: float | None = None) -> None:
        """Return once one endpoint shook hands; connect those that are to be warm (`Pool.warm`), too.

        Args:
            timeout: seconds; None waits for as long as it takes.

        Raises:
            DeadlineExceededError: nobody answered in time; the message names every address and its last error.
        """
        check_timeout(timeout, zero=True)
        self.state.use()
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
        errors = [link.error for link in self._pool.links if link.error is not None]
        raise DeadlineExceededError(
            f"not ready within {timeout:g} s: {self._pool.tried()}",
            processed="no",
            hint=REACH_HINT,
        ) from (errors[-1] if errors else None)

    def close(self) -> None:
        """Close all connections; calls of other threads fail. Closing twice is fine."""
        self._refuse_view("closed")
        self.state.use()
        self._pool.close()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class; each blocks, whatever the class says.

        Type checkers take the class at its word: of an `async def` they expect a coroutine, while the proxy returns
        the answer. `call` is typed right for every class, a proxy for classes with plain `def`. A contract may be one
        although its service is asynchronous::

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
        return cast(S, Proxy(self, contract))

    def _endpoints_of(self, method: Any) -> list[Endpoint]:
        """Return all endpoints that calls of a method may go to."""
        name = name_of(method)
        self.state.use()
        self._pool.follow()
        timeout = self._pool.config.timeouts.call
        try:
            until = None if timeout is None else time.monotonic() + timeout
            self._pool.wait_list(name, until, wait=self.wait_for_ready)
        except TimeoutError:
            raise DeadlineExceededError(
                f"{name}: {self._pool.tried()}", processed="no", hint=REACH_HINT
            ) from None
        return checked_endpoints(name, self._pool.fleet, self._pool.wanted)

    def stats(self) -> dict[str, Any]:
        """Return what is under way, as plain data; `live` and `buffered` return to their base when work ends.

        `totals` counts since the client was made: `calls`, `retries`, attempts that `succeeded` and `failed` (by
        status), `sent_bytes` and `received_bytes` of payloads, `connections`.
        """
        sessions = self._pool.sessions
        if sessions:
            self.state.use()
        return client_stats(sessions, self._pool.totals)

    def _refuse_view(self, what: str) -> None:
        if self.is_view:
            raise TypeError(f"a view made by with_options() cannot be {what}; use the client itself")

    def __repr__(self) -> str:
        return f"<SyncClient of {self._pool}>"


def _check_probes(config: ClientConfig) -> None:
    if config.pool.probes is not None:
        raise ConfigError(
            "Pool.probes is set, and a SyncClient does nothing between calls: nobody would ask",
            hint="leave probes out here, or take a Client; breaker and outlier judge by the calls",
        )

"""The blocking client.

It neither hedges nor probes; its constructor refuses both settings. Hedging would need one thread to wait for two
connections, which other threads may be reading. Between calls no thread could send probes.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from fastrpc._core.client.blocking_caller import BlockingCaller
from fastrpc.client.blocking.fan_out import BlockingFanOut
from fastrpc.client.blocking.stream_verbs import BlockingStreamVerbs
from fastrpc.client.refused_options import explain_options
from fastrpc.first_use import PARTS, has_parts
from fastrpc.peers.outcomes import own_call
from fastrpc.rpc.options import refuse_view

if TYPE_CHECKING:
    from fastrpc.client.blocking.parts import SyncParts
    from fastrpc.client.blocking.pool import SyncPool
    from fastrpc.client.credentials import CredentialSource
    from fastrpc.config import ClientConfig
    from fastrpc.endpoint import Address, Endpoint
    from fastrpc.failmodes.base import FailMode
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.rpc.interceptor import Interceptor
    from fastrpc.selectors.base import Selector

__all__ = ["SyncClient"]

S = TypeVar("S")

has_parts("fastrpc.client.blocking.parts")


class SyncClient(BlockingCaller, BlockingStreamVerbs, BlockingFanOut):
    """Call the methods of one service from blocking code; any number of threads may share a client.

    It has neither an event loop nor a thread: a thread that waits for an answer also sends and receives for the other
    threads. It releases the GIL while it waits. The constructor does no I/O: the first call connects.

    It may be used in the child of a fork, whether or not the parent used it: the child makes its own connections, and
    the parent's are unaffected. A call in a signal handler raises RuntimeError if the interrupted thread was waiting in
    the same client.

    Args:
        target, registry, selector: as for `Client`.
        fail_mode: as for `Client`, except `"failbackup"`: a thread makes one attempt at a time, so it cannot hedge.
        interceptors: functions around every call, the first outermost. They run without a loop: they may await only
            `proceed`, each other and `call.sleep(seconds)`.
        credentials: a token that the client shows to its servers, or a function that returns one, called for each
            connection; a connection is replaced before its token expires.
        config: the settings, see `fastrpc.config`; None: the defaults. `Pool.probes` is refused.

    Raises:
        ConfigError: the target is invalid, or this client cannot honour a setting or the fail mode.
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
        config: "ClientConfig | None" = None,
    ) -> None:
        with PARTS:  # The first client imports most of its modules.
            from fastrpc.client.blocking.parts import parts_of

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
        """Make the state of a new client."""
        from fastrpc.client.blocking.parts import client_state
        from fastrpc.client.parts import first_options

        state, options = client_state(parts), first_options(parts.config)
        self._share(state, parts.config.codec)
        self._set_options(options)
        state.kind = SyncClient

    @property
    def _pool(self) -> "SyncPool":
        return cast("SyncPool", self._state.pool)

    def __enter__(self) -> Self:
        refuse_view(self._is_view, "entered")
        self._state.use(waits=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    if not TYPE_CHECKING:
        # These methods only raise an error with a clear message: type checkers already refuse `async with`.

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
        from fastrpc.client.reach_errors import not_ready_in_time
        from fastrpc.config.validation import check_timeout

        check_timeout(timeout, zero=True)
        self._state.use()
        with own_call():
            until = None if timeout is None else time.monotonic() + timeout
            while until is None or time.monotonic() < until:
                try:
                    self._pool.follow()
                    self._pool.wait_list("ready", until, wait=True)
                    connection = self._pool.acquire(until, wait=True)
                    # If the server refuses the credentials, the refusal follows the handshake, often before this thread
                    # continues.
                    if connection.wait_ready(until) or connection.engine.auth_status > 0:
                        self._pool.warm_up(until)
                        return
                except TimeoutError:
                    break
            raise not_ready_in_time(timeout, self._pool)

    def close(self) -> None:
        """Close all connections. Calls of other threads fail; closing twice is allowed."""
        refuse_view(self._is_view, "closed")
        if self._state.is_of_parent:
            # Connections and registry belong to the parent. A lock may be held by a thread that does not exist in the
            # child.
            self._pool.detach()
            return
        self._pool.close()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class.

        Every method blocks and returns the answer, even if the class defines it with `async def`, for which type
        checkers expect a coroutine. So a proxy has the right types for classes with plain `def`, and `call` has them
        for every class. A contract may use plain `def` although its service is asynchronous::

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

    def _endpoints_of(self, method: Any) -> "list[Endpoint]":
        """Return all endpoints that calls of a method may go to."""
        from fastrpc.client.parts import checked_endpoints, name_of
        from fastrpc.client.reach_errors import not_known_in_time

        name = name_of(method)
        self._state.use()
        self._pool.follow()
        timeout = self._pool.config.timeouts.call
        try:
            until = None if timeout is None else time.monotonic() + timeout
            self._pool.wait_list(name, until, wait=self.wait_for_ready)
        except TimeoutError:
            raise not_known_in_time(name, self._pool) from None
        return checked_endpoints(name, self._pool.endpoint_set, self._pool.reached)

    def stats(self) -> dict[str, Any]:
        """Return the client's gauges and totals as plain data.

        `live` and `buffered` are gauges: without calls in flight they return to their base value. `totals` counts
        since the client was made: `calls`, `retries`, attempts that `succeeded` and `failed` (by status),
        `sent_bytes` and `received_bytes` of payloads, and `connections`.
        """
        if self._state.is_of_parent:
            self._state.use(waits=False)
        from fastrpc.client.parts import client_stats

        return client_stats(self._pool.connections, self._pool.totals)

    def __repr__(self) -> str:
        return f"<SyncClient of {self._pool}>"

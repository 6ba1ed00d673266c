"""The blocking client."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast

from fastrpc._core.blocking_caller import BlockingCaller, BlockingState
from fastrpc._core.spinner import allowed_spin
from fastrpc.client.client import (
    Proxy,
    RouteMaker,
    check_config,
    check_routing,
    checked_options,
    client_settings,
    client_stats,
)
from fastrpc.client.sync_balancer import SyncBalancer
from fastrpc.client.sync_pool import SyncPool
from fastrpc.client.target import Target, endpoints_of
from fastrpc.codecs.base import codec_named
from fastrpc.compressors.base import available, compressor_named
from fastrpc.config import ClientConfig
from fastrpc.config.validation import check_timeout
from fastrpc.endpoint import Address
from fastrpc.errors import DeadlineExceededError
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.rpc.options import CallOptions

__all__ = ["SyncClient"]

S = TypeVar("S")

_DEFAULT_CONFIG = ClientConfig()


class SyncClient(BlockingCaller):
    """Calls the methods of one service from ordinary, blocking code; any number of threads may share it.

    It has no event loop and no thread of its own: the thread that waits for an answer sends and receives, for the
    others too, and gives up the GIL while it waits. Making one does no I/O: the first call connects.

    Args:
        target: an address such as `tcp://host:port`, `unix:///path` or `memory://name`, or a list of addresses that
            all serve the same; calls go to them in turn.
        interceptors: functions around every call, the first outermost. They run without a loop: besides `proceed`
            and each other they may await `call.sleep(seconds)` only.
        config: settings as a value, see `fastrpc.config`.

    Raises:
        ConfigError: the target is no address, or a setting cannot be met here.
    """

    _is_view = False

    def __init__(
        self,
        target: str | Address | Sequence[str | Address],
        *,
        interceptors: Sequence[Interceptor] = (),
        config: ClientConfig = _DEFAULT_CONFIG,
    ) -> None:
        check_config(config)
        self._pool = SyncPool(endpoints_of(target), config, client_settings(config, reads_always=False))
        self._pool.spin_microseconds = allowed_spin(config.spin_microseconds)
        state = BlockingState(
            SyncBalancer(self._pool, interceptors),
            RouteMaker(config, self._pool.totals),
            config.pool.connections_per_endpoint,
        )
        self._pool.on_change = state.set_sessions
        state.default_timeout_ns = int((config.timeouts.call or 0) * 1e9)
        state.compress_above = config.compress_above
        state.compressors = {compressor.wire_id: compressor for compressor in available()}
        state.message_limit = config.limits.message_bytes
        state.needs_runner = bool(interceptors)
        codec_named(config.codec)
        self.share(state, config.codec)
        if config.compressor is not None:
            self.derive(self, {"compressor": compressor_named(config.compressor)})

    def __enter__(self) -> Self:
        self._refuse_view("entered")
        self.state.use()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def ready(self, timeout: float | None = None) -> None:
        """Return once one endpoint shook hands.

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
                if self._pool.acquire(until, wait=True).wait_ready(until):
                    return
            except TimeoutError:
                break
        errors = [link.error for link in self._pool.links if link.error is not None]
        raise DeadlineExceededError(
            f"not ready within {timeout:g} s: {self._pool.tried()}", processed="no"
        ) from (errors[-1] if errors else None)

    def close(self) -> None:
        """Close all connections; calls of other threads fail. Closing twice is fine."""
        self._refuse_view("closed")
        self.state.use()
        self._pool.close()

    def bind(self, contract: Callable[..., S], /) -> S:
        """Return a proxy with the methods of a service class; each blocks, whatever the class says."""
        return cast(S, Proxy(self, contract))

    def with_options(self, **options: Unpack[CallOptions]) -> Self:
        """Return a light view of this client whose calls differ in what is given here.

        What is left out is inherited, None means none; views chain and can be kept. Metadata is merged.

        Args:
            timeout: seconds for one call.
            metadata: text values, or bytes under keys that end in `-bin`.
            codec, compressor: by name.
            priority: 0 normal, 1 sheddable, 2 high.
            idempotent: whether the server may run the call twice.
            wait_for_ready: wait, deadline running, while no server can be reached.
        """
        check_routing(options, Target([link.endpoint for link in self._pool.links]))
        view = type(self).__new__(type(self))
        view._pool = self._pool
        view._is_view = True
        view.derive(self, checked_options(options))
        return view

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
        if self._is_view:
            raise TypeError(f"a view made by with_options() cannot be {what}; use the client itself")

    def __repr__(self) -> str:
        return f"<SyncClient of {self._pool}>"

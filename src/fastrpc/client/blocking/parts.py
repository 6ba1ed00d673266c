"""The parts of a blocking client. The first client imports their modules; the child of a fork makes them again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from fastrpc._core.client.blocking_state import BlockingState
from fastrpc._core.loop.polling import allowed_spin
from fastrpc.client.blocking.call_runner import SyncCallRunner
from fastrpc.client.blocking.pool import SyncHome, SyncPool
from fastrpc.client.credentials import TOKEN_HINT
from fastrpc.client.endpoint_plan import CROWD_CALLS, MOST_AUTOMATIC
from fastrpc.client.parts import (
    DEFAULT_FAIL_MODE,
    OptionsCheck,
    checked_config,
    client_credentials,
    client_settings,
    needs_runner,
    share_settings,
)
from fastrpc.client.target import endpoint_set_for, target_of
from fastrpc.client.wire import dialed_target
from fastrpc.config import ClientConfig
from fastrpc.errors import ConfigError
from fastrpc.failmodes.base import RetryPolicy, blocking_fail_mode_for
from fastrpc.peers.route_maker import RouteMaker
from fastrpc.rpc.interceptor import Interceptor, client_interceptors
from fastrpc.rpc.wire_numbers import numbers_of_all

__all__ = ["SyncParts", "client_state", "parts_of"]


def client_state(parts: "SyncParts") -> BlockingState:
    """Return the state of a new client."""
    config = parts.config
    width = config.pool.connections_per_endpoint
    state = BlockingState(MOST_AUTOMATIC, CROWD_CALLS) if width == "auto" else BlockingState(width)
    share_settings(state, config, numbers_of_all())
    parts.give(state)
    state.remake = partial(parts.renew, state)
    return state


@dataclass(frozen=True, slots=True)
class SyncParts:
    """The constructor arguments of a client, from which its parts are made, and remade in the child of a fork."""

    #: Left out of the text of this object: `target` and `registry` may be URLs with a token.
    target: Any = field(repr=False)
    registry: Any = field(repr=False)
    selector: Any
    fail_mode: Any
    interceptors: Sequence[Interceptor]
    config: ClientConfig
    spin_microseconds: int
    credentials: Any = field(repr=False)
    #: The `SyncServices` that made this client, or None.
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
        state.token_hint = TOKEN_HINT if pool.dialer.credentials is None else None
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
    """Check the constructor's arguments, and return them as the parts of a client.

    Raises:
        ConfigError: the client cannot honour a setting.
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

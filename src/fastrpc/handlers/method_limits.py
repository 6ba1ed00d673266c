"""The limits of each method, and the counters of its calls."""

import logging
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

from fastrpc._core.limiting.limiters import AdaptiveLimit, ConcurrencyLimiter, RateLimiter
from fastrpc._core.server.guards import BoundLimit
from fastrpc.errors import ConfigError
from fastrpc.limits import (
    Addresses,
    CallLimit,
    ConcurrencyLimit,
    ConnectionRate,
    Limit,
    RateLimit,
    unmatched_patterns,
)
from fastrpc.patterns import method_patterns

__all__ = [
    "EDGE_REASONS",
    "EdgeReason",
    "Limiter",
    "MethodLimits",
    "check_patterns",
    "limiter_for",
    "limits_connections",
    "rate_limiter_for",
    "shared_limiters",
]

Limiter: TypeAlias = RateLimiter | ConcurrencyLimiter

#: The reasons for which `Addresses` and `ConnectionRate` refuse; refusals are counted under these names.
EdgeReason: TypeAlias = Literal["address", "connection_rate"]
EDGE_REASONS: Final[tuple[EdgeReason, ...]] = get_args(EdgeReason)

logger = logging.getLogger("fastrpc.server")


def limiter_for(limit: CallLimit) -> Limiter:
    """Return a new counter for the calls of a limit."""
    if isinstance(limit, RateLimit):
        return rate_limiter_for(limit)
    if isinstance(limit.limit, int):
        return ConcurrencyLimiter(limit.limit)
    adaptive = AdaptiveLimit(limit.initial, limit.floor, limit.ceiling)
    return ConcurrencyLimiter(limit.initial, adaptive=adaptive)


def rate_limiter_for(limit: RateLimit | ConnectionRate) -> RateLimiter:
    """Return new token buckets for a rate."""
    return RateLimiter(limit.rate, limit.burst if isinstance(limit, RateLimit) else limit.tokens)


def limits_connections(limits: Sequence[Limit]) -> bool:
    """Return whether one of these limits concerns connections."""
    return any(isinstance(limit, Addresses | ConnectionRate) for limit in limits)


def shared_limiters(limits: Sequence[Limit]) -> tuple[RateLimiter | None, ...]:
    """Return a counter for each rate that all processes share, and None for other limits. Call this before the fork."""
    return tuple(
        rate_limiter_for(limit) if isinstance(limit, RateLimit | ConnectionRate) else None for limit in limits
    )


class MethodLimits:
    """The limits of one server, and their binding to its methods.

    Args:
        limiters: the counter of calls for each limit, in the same order.
    """

    def __init__(self, limits: Sequence[CallLimit], limiters: Sequence[Limiter]) -> None:
        self._limits = [
            (limit, limiter, method_patterns(limit.methods))
            for limit, limiter in zip(limits, limiters, strict=True)
        ]

    def bind(self, method: str) -> tuple[BoundLimit, ...]:
        """Return the limits of a method, in the order in which they were given."""
        return tuple(
            BoundLimit(_own(limit, limiter), limit.per, _name(limit.per, method), _text(limit))
            for limit, limiter, patterns in self._limits
            if any(pattern.matches(method) for pattern in patterns)
        )


def check_patterns(limits: Sequence[CallLimit], methods: Sequence[str]) -> None:
    """Refuse patterns that name an unknown method of a served service; warn of services that are not served.

    Raises:
        ConfigError: a pattern is certainly a mistake.
    """
    services = {method.rpartition(".")[0] for method in methods}
    for pattern, service in unmatched_patterns(limits, methods):
        if service in services:
            names = [method for method in methods if method.rpartition(".")[0] == service]
            raise ConfigError(
                f"a limit is for {pattern!r}, but {service!r} has no such method",
                hint=f"there are {', '.join(sorted(names))}",
            )
        logger.warning("a limit is for %r, but no service %r is served here", pattern, service)


def _own(limit: CallLimit, limiter: Limiter) -> Limiter:
    """Return the counter for one method's calls: a separate one if an adaptive limit counts per method."""
    is_adaptive = isinstance(limit, ConcurrencyLimit) and limit.limit == "adaptive"
    return limiter_for(limit) if is_adaptive and limit.per == "method" else limiter


def _name(per: str, method: str) -> bytes:
    """Return the key under which a limit counts all calls of a method."""
    if per == "method":
        return method.encode()
    return method.rpartition(".")[0].encode() if per == "service" else b""


def _text(limit: CallLimit) -> str:
    per = "" if limit.per == "server" else f" per {limit.per}"
    if isinstance(limit, RateLimit):
        return f"over the rate of {limit.rate:g} calls/s{per} with a burst of {limit.burst} (RateLimit)"
    if limit.limit == "adaptive":
        return f"as many calls{per} are in progress as the server does well (an adaptive ConcurrencyLimit)"
    return f"{limit.limit} calls{per} are in progress, the limit (ConcurrencyLimit)"

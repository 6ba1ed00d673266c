"""Limits of calls and connections for `Server(limits=[…])`.

::

    limits = [
        RateLimit(1_000, burst=100),                                # of the whole server
        RateLimit(50, burst=20, per="peer", methods="shop.**"),
        ConcurrencyLimit(8, methods="shop.report"),
        Addresses(deny=["203.0.113.0/24"]),                         # of connections
        ConnectionRate(20),
    ]

A call over a limit is refused before any part of it is decoded: it does not start, and its caller gets an
`OverloadedError` with `retry_after`. A call refused by one limit counts on no other. A refused connection is closed.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import Any, Final, Literal, TypeAlias

from fastrpc.config import Limits
from fastrpc.config.validation import LONGEST_SECONDS, check_count, check_networks, check_number, wrong
from fastrpc.errors import ConfigError
from fastrpc.patterns import method_patterns
from fastrpc.value_class import value_class

__all__ = [
    "Addresses",
    "CallLimit",
    "ConcurrencyLimit",
    "ConnectionRate",
    "Limit",
    "RateLimit",
    "checked_limits",
    "unmatched_patterns",
]

_KEYS: Final = ("server", "service", "method", "peer", "identity")
_METADATA: Final = "metadata:"
_METADATA_KEY: Final = re.compile(r"metadata:(?!frpc-)[a-z0-9._-]{1,255}(?<!-bin)")
_HIGHEST_RATE: Final = 100_000_000
_ADAPTIVE: Final = {"initial": 20, "floor": 4, "ceiling": 1_000}


@value_class
class RateLimit:
    """At most `rate` calls a second, after a burst of `burst` calls.

    A bucket holds `burst` tokens and is filled with `rate` tokens a second; each call takes one. Each key has its own
    bucket. 10,000 keys are kept; beyond that, new keys share one bucket until other buckets are full again. The workers
    of a server share all buckets.

    Args:
        rate: calls a second; 0.1 is one call in ten seconds.
        burst: calls at the same moment after a quiet time. Too low a value refuses calls that honest callers send
            together, too high a value admits load peaks.
        per: the owner of a bucket: "server", "service", "method", "peer" (its IP address without the port, an IPv6
            address by its /64, the user of a unix socket), "identity", or "metadata:<key>", the value of that entry.
            The last two need `Server(authenticate=…)`; callers without an identity then share one bucket.
        methods: the calls that count: `shop.pay`, `shop.*` (the methods of a service), `shop.**` (services below it,
            too), `**` (all but `fastrpc.*`), or a list of these.

    Raises:
        ConfigError: an argument has the wrong type or range.
    """

    rate: float
    burst: int
    per: str = field(default="server", kw_only=True)
    methods: str | Sequence[str] = field(default="**", kw_only=True)

    def __post_init__(self) -> None:
        check_number(self, "rate", 0, _HIGHEST_RATE, above=True)
        check_count(self, "burst", 1)
        _check_refill(self, self.burst)
        _check_key(self)
        method_patterns(self.methods)


@value_class
class ConcurrencyLimit:
    """At most `limit` calls in progress, streams included. Each worker of a server counts its own.

    "adaptive" adjusts the limit ten times a second: it falls while calls miss their deadlines or take longer than in
    the best of the last ten seconds, and rises otherwise. An adaptive limit does not count streams and one-way calls.

    Args:
        limit: calls in progress, from the queue or their start to their end; or "adaptive". Too low a limit leaves the
            server idle, too high a limit makes calls wait for each other inside their handlers.
        per: the key of a count, as for `RateLimit`; "server" or "method" for an adaptive limit.
        methods: the calls that count, as for `RateLimit`.
        initial: an adaptive limit before the first call.
        floor: the lowest adaptive limit. If it is too low, a slow moment stops nearly all calls.
        ceiling: the highest adaptive limit.

    Raises:
        ConfigError: an argument has the wrong type or range.
    """

    limit: int | Literal["adaptive"]
    per: str = field(default="server", kw_only=True)
    methods: str | Sequence[str] = field(default="**", kw_only=True)
    initial: int = field(default=20, kw_only=True)
    floor: int = field(default=4, kw_only=True)
    ceiling: int = field(default=1_000, kw_only=True)

    def __post_init__(self) -> None:
        _check_key(self)
        method_patterns(self.methods)
        for name in _ADAPTIVE:
            check_count(self, name, 1)
        given: Any = self.limit
        if given == "adaptive":
            self._check_adaptive()
        elif isinstance(given, str):
            raise wrong(self, "limit", "a whole number from 1, or 'adaptive'")
        else:
            check_count(self, "limit", 1)
            self._check_fixed()

    def _check_fixed(self) -> None:
        for name, default in _ADAPTIVE.items():
            value = getattr(self, name)
            if value != default:
                raise ConfigError(
                    f"ConcurrencyLimit.{name} is {value}, but the limit is {self.limit} and does not adapt",
                    hint=f"leave {name} out, or write ConcurrencyLimit('adaptive', {name}=…)",
                )

    def _check_adaptive(self) -> None:
        if self.per not in {"server", "method"}:
            raise wrong(self, "per", "'server' or 'method' for an adaptive limit")
        if not self.floor <= self.initial <= self.ceiling:
            raise ConfigError(
                f"ConcurrencyLimit.initial is {self.initial}, it must be from floor ({self.floor}) to ceiling "
                f"({self.ceiling})"
            )


@value_class
class Addresses:
    """The addresses that may connect. If there are several such limits, an address has to pass all of them.

    Of the networks that contain an address, the network with the longest prefix decides; if both lists have this
    network, the address is denied. IPv4-mapped IPv6 addresses count as IPv4. Unix sockets pass. A refused connection is
    closed before TLS, and before it counts among `Limits.connections`. With `ServerConfig.proxy_protocol` the address
    in the header counts. If a request comes from one of `HTTP.trusted_proxies` and its client is denied, the answer is
    403, or PERMISSION_DENIED in gRPC.

    Args:
        allow: networks such as "10.0.0.0/8". If it is not empty, all other addresses are denied.
        deny: networks that are denied.

    Raises:
        ConfigError: a text is not a network, or both lists are empty.
    """

    allow: Sequence[str] = ()
    deny: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("allow", "deny"):
            value: Any = getattr(self, name)
            if not isinstance(value, tuple | list) or not all(isinstance(text, str) for text in value):
                raise wrong(self, name, "a list of networks such as '10.0.0.0/8'", hint=f"write {name}=['…']")
            check_networks(self, name)
            object.__setattr__(self, name, tuple(value))
        if not self.allow and not self.deny:
            raise ConfigError(
                "Addresses has neither allow nor deny", hint="name networks such as '10.0.0.0/8'"
            )


@value_class
class ConnectionRate:
    """At most `rate` new connections a second from each address, after a burst of `burst` connections.

    As for `RateLimit`, 10,000 addresses have separate buckets, and the workers of a server share all buckets. A refused
    connection is closed, as by `Addresses`. A request from one of `HTTP.trusted_proxies` counts as a connection of its
    client; above the rate the answer is 429, or RESOURCE_EXHAUSTED in gRPC.

    Args:
        rate: connections a second; 0.1 is one connection in ten seconds.
        burst: connections at the same moment after a quiet time; None: `rate`, rounded up. Too low a value refuses
            clients that open several connections together, and several computers behind one address.
        per: the owner of a bucket: "address" (an IPv4 address or the /64 of an IPv6 address) or "server".

    Raises:
        ConfigError: an argument has the wrong type or range.
    """

    rate: float
    burst: int | None = field(default=None, kw_only=True)
    per: str = field(default="address", kw_only=True)

    def __post_init__(self) -> None:
        check_number(self, "rate", 0, _HIGHEST_RATE, above=True)
        if self.burst is not None:
            check_count(self, "burst", 1)
        _check_refill(self, self.tokens)
        if self.per not in ("address", "server"):
            raise wrong(self, "per", "'address' or 'server'")

    @property
    def tokens(self) -> int:
        """The most connections that may be opened at the same moment."""
        return max(1, math.ceil(self.rate)) if self.burst is None else self.burst


#: A limit of calls.
CallLimit: TypeAlias = RateLimit | ConcurrencyLimit
#: An entry of `limits=[…]`.
Limit: TypeAlias = CallLimit | Addresses | ConnectionRate


def checked_limits(given: Any, *, has_identities: bool = True) -> tuple[Limit, ...]:
    """Return the limits, checked.

    Args:
        has_identities: whether callers are authenticated.

    Raises:
        ConfigError: the value is not a list of limits, or one limit needs authenticated callers.
    """
    hint = "write limits=[RateLimit(100, burst=20)]"
    if isinstance(given, Limits):
        hint = "these are settings: write config=ServerConfig(limits=…)"
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise ConfigError(f"limits is {given!r}, it must be a list", hint=hint)
    limits = tuple(given)
    for index, limit in enumerate(limits):
        if isinstance(limit, Addresses | ConnectionRate):
            continue
        if not isinstance(limit, CallLimit):
            raise ConfigError(
                f"limits[{index}] is {limit!r}, it must be a RateLimit, ConcurrencyLimit, Addresses or ConnectionRate",
                hint=hint,
            )
        if not has_identities and (limit.per == "identity" or limit.per.startswith(_METADATA)):
            raise ConfigError(
                f"limits[{index}] is per={limit.per!r}, but authenticate is not given: everybody could name another "
                "key with each call",
                hint='write per="peer", or give authenticate',
            )
    return limits


def unmatched_patterns(limits: Iterable[CallLimit], methods: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Yield each pattern that no method fits, with the service that the pattern names."""
    for limit in limits:
        for pattern in method_patterns(limit.methods):
            service = pattern.missing_in(methods)
            if service is not None:
                yield pattern.text, service


def _check_refill(limit: Any, burst: int) -> None:
    if burst / limit.rate > LONGEST_SECONDS:
        raise ConfigError(
            f"{type(limit).__name__}.burst is {burst}, which takes {burst / limit.rate:.3g} s to refill at "
            f"{limit.rate} a second; {LONGEST_SECONDS:,} s are allowed"
        )


def _check_key(limit: Any) -> None:
    per = limit.per
    if isinstance(per, str) and (per in _KEYS or _METADATA_KEY.fullmatch(per)):
        return
    raise wrong(
        limit, "per", f"one of {', '.join(map(repr, _KEYS))}, or 'metadata:<key>' (a-z 0-9 . _ -, no -bin)"
    )

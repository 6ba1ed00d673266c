"""The clients of services. Each is made on the first call of its service, and dropped after a time without calls."""

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any, Generic, TypeVar

from fastrpc._core.base.histogram import CallTotals
from fastrpc.client.inside import pool_of
from fastrpc.client.parts import client_stats
from fastrpc.config_errors import ShownAtProgram
from fastrpc.errors import UnavailableError

__all__ = ["LOOKS", "ServicesHome", "Tenants"]

C = TypeVar("C", bound=Any)

#: The number of checks for services without calls within `idle_seconds`.
LOOKS = 4

#: The multiple of `idle_seconds` after which the client of a service is dropped: by default an hour, for which `Sticky`
#: keeps a key, too.
DROPPED_AFTER = 6


class _Tenant(Generic[C]):
    """The client of one service, and the time of its last call."""

    def __init__(self, client: C) -> None:
        #: The client; None once it is dropped. A dropped client exists as long as the program refers to it.
        self.kept: C | None = client
        #: Returns the client; None once it is collected.
        self.find = weakref.ref(client)
        self._totals: CallTotals = pool_of(client).totals
        self._begun, self._used_at = -1, 0.0

    @property
    def totals(self) -> CallTotals:
        """The totals of the pool of this process."""
        if (client := self.find()) is not None:
            self._totals = pool_of(client).totals
        return self._totals

    def idle_seconds(self, now: float) -> float:
        """Return the time since the last check that found a call in flight, or a call begun since the check before."""
        totals = self.totals.snapshot()
        begun = totals["calls"] + totals["retries"]
        ended = totals["succeeded"] + sum(totals["failed"].values())
        if begun != self._begun or begun > ended:
            self._begun, self._used_at = begun, now
        return now - self._used_at


class Tenants(Generic[C]):
    """The client of each service.

    Args:
        make: makes the client of a service.
        idle_seconds: the time without a call after which a service is no longer followed; None: it is always followed.
    """

    def __init__(self, make: Callable[[str], C], idle_seconds: float | None) -> None:
        self._make = make
        self._idle_seconds = idle_seconds
        self._tenants: dict[str, _Tenant[C]] = {}
        # The totals of clients that were closed or collected.
        self._past: dict[str, Any] = CallTotals().snapshot()
        #: For each method called before, the verb `call` of its client.
        self.calls: dict[Any, Callable[..., Any]] = {}
        #: The clients of each view by service, each with the client from which it was made.
        self.views: weakref.WeakKeyDictionary[Any, dict[str, tuple[C, C]]] = weakref.WeakKeyDictionary()

    def client(self, service: str) -> C:
        """Return the client of a service."""
        tenant = self._tenants.get(service)
        if tenant is None or (client := tenant.find()) is None:
            if not isinstance(service, str):
                raise TypeError(f"{service!r} is not the name of a service: write services['shop.orders']")
            with ShownAtProgram(hides_block=True):
                made = _Tenant(self._make(service))
            # Concurrent threads may make several clients here: one stays, the others are never used.
            while (client := (tenant := self._tenants.setdefault(service, made)).find()) is None:
                self._end(service, tenant)
        return client

    def _end(self, service: str, tenant: _Tenant[C]) -> None:
        """Forget a client, but keep its totals."""
        found = self._tenants.pop(service, None)
        if found is tenant:
            self._past = _added(self._past, tenant.totals.snapshot())
        elif found is not None:
            # Another thread may have made a new client of the service meanwhile.
            self._tenants.setdefault(service, found)

    def left(self, pool: Any) -> None:
        """Forget the client of a closed pool; the next use of its service makes another one."""
        for name, tenant in list(self._tenants.items()):
            if tenant.totals is pool.totals:
                self._end(name, tenant)
        self.calls.clear()

    def idle(self, now: float) -> Iterator[Any]:
        """Yield the pools of services without a call for `idle_seconds`; drop services that are idle for long."""
        for name, tenant in list(self._tenants.items()):
            if (client := tenant.find()) is None:
                self._end(name, tenant)
            elif self._idle_seconds is not None:
                seconds = tenant.idle_seconds(now)
                if seconds >= self._idle_seconds:
                    yield pool_of(client)
                is_kept = seconds < DROPPED_AFTER * self._idle_seconds or pool_of(client).is_watching
                if tenant.kept is not None and not is_kept:
                    self.calls.clear()
                    # The dict is replaced, not iterated: other threads and signal handlers may make views meanwhile.
                    self.views = weakref.WeakKeyDictionary()
                tenant.kept = client if is_kept else None

    @property
    def clients(self) -> list[C]:
        """The clients of all services."""
        return [client for tenant in list(self._tenants.values()) if (client := tenant.find()) is not None]

    def stats(self, connections_of: Callable[[Any], Iterable[Any]]) -> dict[str, Any]:
        """Return the sums over all services; connections that services share count once."""
        pools = [pool_of(client) for client in self.clients]
        connections = {id(each): each for pool in pools for each in connections_of(pool)}
        stats = client_stats(list(connections.values()), self)
        stats["live"]["services"] = sum(pool.is_watching for pool in pools)
        return stats

    def snapshot(self) -> dict[str, Any]:
        """Return the totals of all services, as if they were one client's."""
        return reduce(_added, (one.totals.snapshot() for one in list(self._tenants.values())), self._past)


class ServicesHome:
    """The part of `Services` and `SyncServices` to which the pools of services report."""

    is_closed = False

    def __init__(self, tenants: Tenants[Any]) -> None:
        self._tenants = tenants

    def left(self, pool: Any) -> None:
        """Forget the client of a pool that closed before the others."""
        if not self.is_closed:
            self._tenants.left(pool)

    def check_open(self) -> None:
        """Raise UnavailableError once all services are closed."""
        if self.is_closed:
            raise UnavailableError("the client is closed", processed="no", retryable=False)


def _added(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    failed = Counter(one["failed"]) + Counter(other["failed"])
    return {name: dict(failed) if name == "failed" else count + other[name] for name, count in one.items()}

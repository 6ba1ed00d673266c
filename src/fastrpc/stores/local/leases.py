"""The leases of a store, told the time."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fastrpc.stores.base import Item, LeaseChange
from fastrpc.stores.local.commits import Uncommitted

__all__ = ["ITEM_LEASE", "Leases"]

#: Begins the names of leases that end with their item.
ITEM_LEASE: Final = "deimos-"


class _Lease:
    # Most leases have no item yet, or one: a peer may make as many as it can.
    __slots__ = ("_keys", "due", "seconds")

    def __init__(self, seconds: float, due: float) -> None:
        self.seconds = seconds
        self.due = due
        self._keys: set[str] | None = None

    @property
    def keys(self) -> set[str]:
        if self._keys is None:
            self._keys = set()
        return self._keys


class Leases:
    """Keeps when each lease ends, and the keys of its items."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._leases: dict[str, _Lease] = {}
        # When each lease may end: one entry for each, put back when it was renewed meanwhile.
        self._dues: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, name: str) -> bool:
        return name in self._leases

    def all(self) -> Iterator[tuple[str, float, float]]:
        """Yield name and seconds of each lease, and the seconds until it ends."""
        now = self._clock()
        for name, lease in self._leases.items():
            yield name, lease.seconds, max(lease.due - now, 0.0)

    def keys(self, name: str) -> set[str]:
        """Return the keys of a lease that is there, for the store to change."""
        return self._leases[name].keys

    def seconds(self, name: str) -> float:
        """Return the seconds of a lease that is there."""
        return self._leases[name].seconds

    def is_alive(self, name: str) -> bool:
        """Return whether a lease is there and has not expired."""
        found = self._leases.get(name)
        return found is not None and found.due > self._clock()

    def seconds_left(self, name: str) -> float:
        """Return the seconds until a lease ends; 0 if it is not there."""
        found = self._leases.get(name)
        return 0.0 if found is None else max(found.due - self._clock(), 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Add a lease."""
        due = self._clock() + seconds
        self._leases[name] = _Lease(seconds, due)
        heapq.heappush(self._dues, (due, name))

    def renew(self, name: str) -> bool:
        """Begin a lease anew; return whether it was alive."""
        if not self.is_alive(name):
            return False
        lease = self._leases[name]
        lease.due = self._clock() + lease.seconds
        return True

    def remove(self, name: str) -> list[str]:
        """Remove a lease; return the keys of its items, sorted."""
        keys = sorted(self._leases.pop(name).keys)
        if len(self._dues) > 2 * len(self._leases) + 1000:
            self._dues = [(lease.due, other) for other, lease in self._leases.items()]
            heapq.heapify(self._dues)
        return keys

    def end_emptied(self, changes: Sequence[Uncommitted]) -> Iterator[Uncommitted]:
        """Remove the leases that end with an item that is changed; yield what changes by it."""
        for one in changes:
            name = one.before.lease if isinstance(one.before, Item) else None
            if name is None or not name.startswith(ITEM_LEASE):
                continue
            if name in self._leases and not self._leases[name].keys:
                yield Uncommitted(LeaseChange(name, None), self.seconds(name))
                self.remove(name)

    def expired(self) -> Iterator[str]:
        """Yield the leases that have expired, for the store to remove each."""
        now = self._clock()
        while self._dues and self._dues[0][0] <= now:
            _, name = heapq.heappop(self._dues)
            lease = self._leases.get(name)
            if lease is not None and lease.due > now:
                heapq.heappush(self._dues, (lease.due, name))
            elif lease is not None:
                yield name

    def until_next(self) -> float | None:
        """Return the seconds until the next lease may expire; None without leases."""
        return max(self._dues[0][0] - self._clock(), 0.0) if self._dues else None

"""The leases of a store; callers pass the time."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fastrpc.stores.base import Item, LeaseChange
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["ITEM_LEASE", "Leases"]

#: The prefix of names of leases that end with their item.
ITEM_LEASE: Final = "deimos-"


class Leases:
    """Keeps the instant at which each lease ends, and the keys of its items."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # Seconds by name. A peer may make as many leases as it can, so there is no object for each: in a full
        # collection 200,000 objects held the loop for 60 ms, while the collector skips a dict of texts and numbers.
        self._seconds: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        # Keys by name, only for leases that have an item: most leases have no item yet.
        self._keys: dict[str, set[str]] = {}
        # When each lease may end: one entry per lease, put back if it was renewed meanwhile.
        self._dues: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, name: str) -> bool:
        return name in self._ends

    def all(self) -> Iterator[tuple[str, float, float]]:
        """Yield name and seconds of each lease, and the seconds until it ends."""
        now = self._clock()
        for name, due in self._ends.items():
            yield name, self._seconds[name], max(due - now, 0.0)

    def keys(self, name: str) -> set[str]:
        """Return the keys of an existing lease, for the store to change."""
        if name not in self._ends:
            raise KeyError(name)
        return self._keys.setdefault(name, set())

    def seconds(self, name: str) -> float:
        """Return the length of an existing lease in seconds; `seconds_left` is its rest."""
        return self._seconds[name]

    def is_alive(self, name: str) -> bool:
        """Return whether a lease exists and has not expired."""
        due = self._ends.get(name)
        return due is not None and due > self._clock()

    def seconds_left(self, name: str) -> float:
        """Return the seconds until a lease ends; 0 if it has ended."""
        due = self._ends.get(name)
        return 0.0 if due is None else max(due - self._clock(), 0.0)

    def add(self, name: str, seconds: float) -> None:
        """Add a lease."""
        due = self._clock() + seconds
        self._seconds[name] = seconds
        self._ends[name] = due
        heapq.heappush(self._dues, (due, name))

    def renew(self, name: str) -> bool:
        """Restart a lease; return whether it was alive."""
        if not self.is_alive(name):
            return False
        self._ends[name] = self._clock() + self._seconds[name]
        return True

    def remove(self, name: str) -> list[str]:
        """Remove a lease; return the keys of its items, sorted."""
        del self._ends[name], self._seconds[name]
        keys = sorted(self._keys.pop(name, ()))
        if len(self._dues) > 2 * len(self._ends) + 1000:
            self._dues = [(due, other) for other, due in self._ends.items()]
            heapq.heapify(self._dues)
        return keys

    def end_emptied(self, changes: Sequence[Uncommitted]) -> Iterator[Uncommitted]:
        """Remove the leases that end with a changed item; yield the changes that result."""
        for one in changes:
            name = one.before.lease if isinstance(one.before, Item) else None
            if name is None or not name.startswith(ITEM_LEASE):
                continue
            if name in self._ends and not self._keys.get(name):
                yield Uncommitted(LeaseChange(name, None), self.seconds(name))
                self.remove(name)

    def expired(self) -> Iterator[str]:
        """Yield the leases that have expired, for the store to remove each."""
        now = self._clock()
        while self._dues and self._dues[0][0] <= now:
            _, name = heapq.heappop(self._dues)
            end = self._ends.get(name)
            if end is not None and end > now:
                heapq.heappush(self._dues, (end, name))
            elif end is not None:
                yield name

    def until_next(self) -> float | None:
        """Return the seconds until the next lease may expire; None without leases."""
        return max(self._dues[0][0] - self._clock(), 0.0) if self._dues else None

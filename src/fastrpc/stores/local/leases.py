"""The leases of a store."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from fastrpc.stores.base import Item, LeaseChange
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["ITEM_LEASE", "Leases"]

#: The prefix of the names of leases that end when their item is removed.
ITEM_LEASE: Final = "deimos-"


class Leases:
    """The leases with their ends and the keys of their items."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # `_seconds`: the seconds of each lease, by name. There is no object per lease, since a peer may create any
        # number of leases: a full garbage collection with 200,000 objects blocked the loop for 60 ms, but it skips a
        # dict of texts and numbers.
        self._seconds: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        # Keys by name, only for leases with items: most new leases have no item yet.
        self._keys: dict[str, set[str]] = {}
        # A heap of instants at which leases may end, with one entry per lease. If a lease was renewed, its entry is put
        # back.
        self._dues: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, name: str) -> bool:
        return name in self._ends

    def all(self) -> Iterator[tuple[str, float, float]]:
        """Yield the name and the length of each lease, and the seconds until it ends."""
        now = self._clock()
        for name, due in self._ends.items():
            yield name, self._seconds[name], max(due - now, 0.0)

    def keys(self, name: str) -> set[str]:
        """Return the keys of an existing lease as a set that the caller may change."""
        if name not in self._ends:
            raise KeyError(name)
        return self._keys.setdefault(name, set())

    def seconds(self, name: str) -> float:
        """Return the full length of an existing lease in seconds."""
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
        """Restart a lease; return False if it has ended."""
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
        """Remove the leases that end because their item was changed; yield the resulting changes."""
        for one in changes:
            name = one.before.lease if isinstance(one.before, Item) else None
            if name is None or not name.startswith(ITEM_LEASE):
                continue
            if name in self._ends and not self._keys.get(name):
                yield Uncommitted(LeaseChange(name, None), self.seconds(name))
                self.remove(name)

    def expired(self) -> Iterator[str]:
        """Yield the leases that have expired. The caller has to remove each."""
        now = self._clock()
        while self._dues and self._dues[0][0] <= now:
            _, name = heapq.heappop(self._dues)
            end = self._ends.get(name)
            if end is not None and end > now:
                heapq.heappush(self._dues, (end, name))
            elif end is not None:
                yield name

    def until_next(self) -> float | None:
        """Return the seconds until the next lease may expire, or None without leases."""
        return max(self._dues[0][0] - self._clock(), 0.0) if self._dues else None

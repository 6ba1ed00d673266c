"""A heap of alarms: each object has at most one instant at which it is woken."""

from heapq import heapify, heappop, heappush
from itertools import count
from typing import Final, Generic, TypeVar

__all__ = ["WOKEN_AT_ONCE", "Alarms"]

T = TypeVar("T")

#: Most messages that an object checks per wake-up. For more it schedules another wake-up, so that others get a turn.
WOKEN_AT_ONCE: Final = 1_000

#: Most outdated alarms in the heap beyond the number of current alarms; with more, the heap is rebuilt.
_SPARE: Final = 64


class Alarms(Generic[T]):
    """The next instant of each object."""

    def __init__(self) -> None:
        # The instant of each object.
        self._dues: dict[T, float] = {}
        self._order = count()
        self._heap: list[tuple[float, int, T]] = []

    def set(self, target: T, due: float) -> None:
        """Wake an object at an instant, unless an earlier instant is set."""
        known = self._dues.get(target)
        if known is not None and known <= due:
            return
        self._dues[target] = due
        heappush(self._heap, (due, next(self._order), target))
        if len(self._heap) > _SPARE + 2 * len(self._dues):
            self._heap = [(due, next(self._order), target) for target, due in self._dues.items()]
            heapify(self._heap)

    def cancel(self, target: T) -> None:
        """Cancel the alarm of an object."""
        self._dues.pop(target, None)

    def next(self) -> float | None:
        """Return the next instant."""
        while self._heap:
            due, _, target = self._heap[0]
            if self._dues.get(target) == due:
                return due
            heappop(self._heap)
        return None

    def due(self, now: float) -> list[T]:
        """Remove and return the objects whose instants have passed."""
        found = []
        while (due := self.next()) is not None and due <= now:
            _, _, target = heappop(self._heap)
            del self._dues[target]
            found.append(target)
        return found

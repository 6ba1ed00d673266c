"""Replayed messages beyond the cursor of their group. They are delivered when the cursor reaches them."""

from collections.abc import Iterator
from heapq import heappop, heappush

__all__ = ["Coming"]


class Coming:
    """A queue of the numbers of replayed messages beyond the cursor, the smallest first."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        #: The smallest number; None: no message waits.
        self.next: int | None = None
        #: The latest number that was taken; 0 before the first. A later replay of a smaller number need not wait.
        self.latest = 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def add(self, sequence: int) -> None:
        """Add a message, to be taken in the order of numbers."""
        heappush(self._numbers, sequence)
        self.next = self._numbers[0]

    def take(self) -> int:
        """Remove the next message and return its number."""
        self.latest = heappop(self._numbers)
        self.next = self._numbers[0] if self._numbers else None
        return self.latest

"""Replayed messages beyond the cursor of their group: they are delivered in their place."""

from collections.abc import Iterator
from heapq import heappop, heappush

__all__ = ["Coming"]


class Coming:
    """The numbers of these messages, the smallest first."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        #: The smallest one; None: no message is here.
        self.next: int | None = None
        #: The latest number that came, 0 for none: a replay before it has to come at once.
        self.latest = 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def add(self, sequence: int) -> None:
        """Let a message come in its place."""
        heappush(self._numbers, sequence)
        self.next = self._numbers[0]

    def take(self) -> int:
        """Take out the next message, which thereby comes; return its number."""
        self.latest = heappop(self._numbers)
        self.next = self._numbers[0] if self._numbers else None
        return self.latest

"""Replayed messages beyond the cursor of their group: they are delivered in their place."""

from collections.abc import Iterator
from heapq import heappop, heappush

__all__ = ["Coming"]


class Coming:
    """The numbers of these messages, the smallest first."""

    def __init__(self) -> None:
        #: The smallest one first.
        self.numbers: list[int] = []
        #: The latest number that came, 0 for none: a replay before it has to come at once.
        self.latest = 0

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers)

    def add(self, sequence: int) -> None:
        """Let a message come in its place."""
        heappush(self.numbers, sequence)

    def comes_before(self, sequence: int | None) -> bool:
        """Return whether one comes before a message of the log; None: whether there is one."""
        return bool(self.numbers) and (sequence is None or self.numbers[0] <= sequence)

    def take(self) -> int:
        """Take out the next message, which thereby comes; return its number."""
        self.latest = heappop(self.numbers)
        return self.latest

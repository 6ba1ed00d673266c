"""Replayed messages beyond the cursor of their group: they are delivered in their place."""

from collections.abc import Iterator
from heapq import heappop, heappush

__all__ = ["Coming"]


class Coming:
    """The numbers of these messages, the smallest first."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        #: The latest delivered number, 0 for none: a replay before it is delivered at once.
        self.latest = 0

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def add(self, sequence: int) -> None:
        """Note a message that arrived at its place."""
        heappush(self._numbers, sequence)

    def comes_before(self, sequence: int | None) -> bool:
        """Return whether a replayed message precedes a message of the log; None: whether there is one at all."""
        return bool(self._numbers) and (sequence is None or self._numbers[0] <= sequence)

    def take(self) -> int:
        """Remove the next message, which is delivered now; return its number."""
        self.latest = heappop(self._numbers)
        return self.latest

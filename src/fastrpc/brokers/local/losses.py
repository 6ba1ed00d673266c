"""The messages that a log dropped before a group handled them."""

from math import inf
from typing import Final

__all__ = ["Losses"]

#: Least seconds between two reports.
_TOLD_SECONDS: Final = 60.0


class Losses:
    """Counts them, and says when an operator is to be told."""

    def __init__(self) -> None:
        self.count = 0
        self._untold, self._told_at = 0, -inf

    def add(self, now: float) -> int:
        """Count a message; return how many there were since the last report if another one is due, else 0."""
        self.count += 1
        self._untold += 1
        if now < self._told_at + _TOLD_SECONDS:
            return 0
        untold, self._untold, self._told_at = self._untold, 0, now
        return untold

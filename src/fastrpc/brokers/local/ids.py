"""The ids of a topic's messages, which are used to find duplicates."""

from collections import deque
from typing import Final

__all__ = ["ID_BYTES", "Ids"]

#: Bytes of memory of an id in addition to its text.
ID_BYTES: Final = 250


class Ids:
    """Remembers each id for some seconds.

    Args:
        seconds: the age at which an id is forgotten.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._numbers: dict[str, int] = {}
        # Ids by age. After deletions a dictionary does not find its oldest key in constant time.
        self._ages: deque[tuple[float, str]] = deque()
        #: Bytes of all ids.
        self.size = 0

    def find(self, id: str, now: float) -> int | None:
        """Return the number of the message with this id, or None."""
        self.forget_old(now)
        return self._numbers.get(id)

    def forget_old(self, now: float) -> None:
        """Forget the ids that are older than `seconds`."""
        ages, limit = self._ages, now - self._seconds
        while ages and ages[0][0] <= limit:
            _, old = ages.popleft()
            del self._numbers[old]
            self.size -= len(old) + ID_BYTES

    def add(self, id: str, sequence: int, kept_at: float) -> None:
        """Add an id for which `find` returned None."""
        self._numbers[id] = sequence
        self._ages.append((kept_at, id))
        self.size += len(id) + ID_BYTES

    def undo(self, sequence: int) -> None:
        """Forget the ids of messages with greater numbers than this one."""
        while self._ages and self._numbers[self._ages[-1][1]] > sequence:
            _, id = self._ages.pop()
            del self._numbers[id]
            self.size -= len(id) + ID_BYTES

    def oldest(self) -> float | None:
        """Return the instant at which the oldest id was added."""
        return self._ages[0][0] if self._ages else None

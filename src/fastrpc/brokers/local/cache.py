"""The records in memory that a journal has, too, up to a number of bytes; the earliest to come leave first."""

from collections import deque
from typing import Final, Protocol

__all__ = ["RecordCache"]

#: Places of records that have left stay beside as many of records that are here.
_SPARE: Final = 1_000


class _Holder(Protocol):
    """Holds records of one topic."""

    def forget(self, sequence: int) -> None: ...

    def is_held(self, sequence: int) -> bool: ...


class RecordCache:
    """Counts the records of all topics that are in memory.

    Args:
        most_bytes: beyond them a record leaves memory, but for the latest one to come.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._order: deque[tuple[_Holder, int]] = deque()
        self._count = 0
        #: Bytes of all.
        self.size = 0

    def add(self, holder: _Holder, sequence: int, size: int) -> None:
        """Note a record that its holder has from now on."""
        self._order.append((holder, sequence))
        self._count += 1
        self.size += size
        while self.size > self._most_bytes and len(self._order) > 1:
            oldest, number = self._order.popleft()
            oldest.forget(number)
        if len(self._order) > _SPARE + 2 * self._count:
            self._order = deque(one for one in self._order if one[0].is_held(one[1]))

    def remove(self, size: int) -> None:
        """Note that a record has left."""
        self._count -= 1
        self.size -= size

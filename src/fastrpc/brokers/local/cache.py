"""A bounded cache of a journal's records in memory. The oldest records are dropped first."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["RecordCache"]

#: Most places of removed records beyond the number of present records; with more, these places are removed.
_SPARE: Final = 1_000


class _Holder(Protocol):
    """The holder of one topic's records. `evict` drops a record and returns its size, or None if it is gone already."""

    def evict(self, sequence: int) -> int | None: ...

    def is_held(self, sequence: int) -> bool: ...


class _Held(Protocol):
    """A record."""

    @property
    def sequence(self) -> int: ...

    @property
    def size(self) -> int: ...


class RecordCache:
    """Counts the records of all topics in memory, and drops the oldest beyond a limit.

    Args:
        most_bytes: the most bytes of records in memory; the latest record stays even if it is larger.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        # The places of records, as two columns: with a tuple per record the garbage collector would visit each tuple.
        self._holders: deque[_Holder] = deque()
        self._numbers: deque[int] = deque()
        self._count = 0
        #: Bytes of all records in memory.
        self.size = 0

    @property
    def places(self) -> int:
        """The number of places, including places of some removed records."""
        return len(self._numbers)

    def add(self, holder: _Holder, records: Sequence[_Held]) -> None:
        """Add records of a holder. The limit is enforced by `trim`."""
        self._holders.extend([holder] * len(records))
        self._numbers.extend([one.sequence for one in records])
        self._count += len(records)
        self.size += sum([one.size for one in records])

    def trim(self) -> None:
        """Drop the earliest records until the rest fits the limit. Each step of the broker calls it at its end."""
        holders, numbers = self._holders, self._numbers
        while self.size > self._most_bytes and len(numbers) > 1:
            size = holders.popleft().evict(numbers.popleft())
            if size is not None:
                self._count -= 1
                self.size -= size

    def remove(self, size: int) -> None:
        """Subtract the size of a record that its holder has removed."""
        self._count -= 1
        self.size -= size
        if len(self._numbers) > _SPARE + 2 * self._count:
            self._tidy()

    def _tidy(self) -> None:
        """Remove the places of removed records."""
        places = zip(self._holders, self._numbers, strict=True)
        held = [(holder, number) for holder, number in places if holder.is_held(number)]
        self._holders = deque(holder for holder, _ in held)
        self._numbers = deque(number for _, number in held)

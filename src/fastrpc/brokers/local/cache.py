"""Records of a journal that are also in memory, up to a number of bytes; the oldest leave first."""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

__all__ = ["RecordCache"]

#: The most places of removed records that are kept, beyond the number of present records.
_SPARE: Final = 1_000


class _Holder(Protocol):
    """Holds records of one topic. `evict` drops a record and returns its size, or None if it has left before."""

    def evict(self, sequence: int) -> int | None: ...

    def is_held(self, sequence: int) -> bool: ...


class _Held(Protocol):
    """A record."""

    @property
    def sequence(self) -> int: ...

    @property
    def size(self) -> int: ...


class RecordCache:
    """Counts the records of all topics that are in memory.

    Args:
        most_bytes: a record beyond them leaves memory, except the latest one.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        # The places of records, in two columns: the collector of cycles would visit a pair for each one.
        self._holders: deque[_Holder] = deque()
        self._numbers: deque[int] = deque()
        self._count = 0
        #: Bytes of all records.
        self.size = 0

    @property
    def places(self) -> int:
        """The places of present records and of some removed ones."""
        return len(self._numbers)

    def add(self, holder: _Holder, records: Sequence[_Held]) -> None:
        """Note records that their holder has from now on; the bytes are within their bound after `trim`."""
        self._holders.extend([holder] * len(records))
        self._numbers.extend([one.sequence for one in records])
        self._count += len(records)
        self.size += sum([one.size for one in records])

    def trim(self) -> None:
        """Let the earliest records leave until the bytes are within their bound; the end of each step calls it."""
        holders, numbers = self._holders, self._numbers
        while self.size > self._most_bytes and len(numbers) > 1:
            size = holders.popleft().evict(numbers.popleft())
            if size is not None:
                self._count -= 1
                self.size -= size

    def remove(self, size: int) -> None:
        """Note that a record has left."""
        self._count -= 1
        self.size -= size
        if len(self._numbers) > _SPARE + 2 * self._count:
            self._tidy()

    def _tidy(self) -> None:
        """Forget the places of records that were removed."""
        places = zip(self._holders, self._numbers, strict=True)
        held = [(holder, number) for holder, number in places if holder.is_held(number)]
        self._holders = deque(holder for holder, _ in held)
        self._numbers = deque(number for _, number in held)

"""The messages of one topic, in the order in which they were kept."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from fastrpc.brokers.local.records import Record

__all__ = ["Log"]

#: Numbers of removed messages that stay in the list beside as many of kept ones.
_SPARE: Final = 64


class Log:
    """Keeps records by number. Those after `visible` wait for their commit and are not delivered yet.

    Args:
        counts_names: whether it has records of several names, and counts each.
    """

    def __init__(self, *, counts_names: bool = False) -> None:
        self._records: dict[int, Record] = {}
        # Ascending; from `_head` on every number of a kept record, and some of removed ones.
        self._numbers: list[int] = []
        self._head = 0
        #: The number of the latest record; 0: there was none.
        self.last = 0
        #: The number of the latest committed record.
        self.visible = 0
        #: Bytes of all records, and of committed ones.
        self.size = self.visible_size = 0
        # Committed records of each name, without zeros.
        self._by_name: Counter[str] | None = Counter() if counts_names else None

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._records

    def append(self, record: Record) -> None:
        """Keep a record with a number beyond the latest one."""
        self.last = record.sequence
        self._records[record.sequence] = record
        self._numbers.append(record.sequence)
        self.size += record.size

    def reveal(self, record: Record) -> None:
        """Note that a record is committed, the first one that was not."""
        self.visible = record.sequence
        self.visible_size += record.size
        if self._by_name is not None:
            self._by_name[record.topic] += 1

    def first(self) -> Record | None:
        """Return the oldest committed record."""
        numbers, records = self._numbers, self._records
        while self._head < len(numbers) and numbers[self._head] not in records:
            self._head += 1
        if len(numbers) > _SPARE + 2 * len(records):
            self._tidy()
        return self._visible(self._head)

    def after(self, sequence: int) -> Record | None:
        """Return the first committed record whose number is greater."""
        if sequence >= self.visible:
            return None
        record = self._records.get(sequence + 1)
        if record is None:
            place = bisect_right(self._numbers, sequence, self._head)
            while place < len(self._numbers) and self._numbers[place] not in self._records:
                place += 1
            record = self._visible(place)
        return record

    def since(self, instant: float) -> int:
        """Return the number after which the committed records since an instant come."""
        self._tidy()
        place = bisect_left(self._numbers, instant, key=lambda number: self._records[number].kept_at)
        record = self._visible(place)
        return self.visible if record is None else record.sequence - 1

    def count_after(self, sequence: int) -> int:
        """Return the number of committed records whose numbers are greater."""
        if sequence >= self.visible:
            return 0
        if len(self._numbers) - self._head != len(self._records):
            self._tidy()
        return (
            len(self._numbers)
            - bisect_right(self._numbers, sequence, self._head)
            - (self.last - self.visible)
        )

    def names_after(self, sequence: int) -> Mapping[str, int]:
        """Return the number of committed records of each name whose numbers are greater."""
        first = self.first()
        if self._by_name is not None and (first is None or sequence < first.sequence):
            return self._by_name
        return Counter(record.topic for record in self.newer(sequence))

    def newer(self, sequence: int) -> Iterator[Record]:
        """Yield the committed records whose numbers are greater."""
        for number in self._numbers[bisect_right(self._numbers, sequence, self._head) :]:
            record = self._records.get(number)
            if record is not None and number <= self.visible:
                yield record

    def remove(self, record: Record) -> None:
        """Remove a record that is here."""
        del self._records[record.sequence]
        self.size -= record.size
        if record.sequence <= self.visible:
            self.visible_size -= record.size
            if self._by_name is not None:
                self._by_name[record.topic] -= 1
                if not self._by_name[record.topic]:
                    del self._by_name[record.topic]
        if len(self._numbers) > _SPARE + 2 * len(self._records):
            self._tidy()

    def undo(self) -> list[Record]:
        """Remove all records that are not committed, and return them."""
        lost = [self._records[number] for number in range(self.visible + 1, self.last + 1)]
        for record in lost:
            self.remove(record)
        self._tidy()
        self.last = self.visible
        return lost

    def _visible(self, place: int) -> Record | None:
        if place < len(self._numbers) and self._numbers[place] <= self.visible:
            return self._records[self._numbers[place]]
        return None

    def _tidy(self) -> None:
        """Forget the numbers of removed records."""
        self._numbers = [number for number in self._numbers[self._head :] if number in self._records]
        self._head = 0

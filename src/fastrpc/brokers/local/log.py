"""The messages of one topic, in the order in which they were kept."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from fastrpc.brokers.local.cache import RecordCache
from fastrpc.brokers.local.records import KeptPlace, Record

__all__ = ["Log"]

#: Most rows of removed messages beyond the number of present messages; with more, these rows are removed.
_SPARE: Final = 64

#: The most messages of one read (_READ_MESSAGES), and the most bytes (_READ_BYTES).
_READ_MESSAGES: Final = 256
_READ_BYTES: Final = 1024 * 1024

#: Places that are restored in one step.
_RESTORED_AT_ONCE: Final = 1_000


class Log:
    """The places of all messages, and the records in memory. Without a journal all records are in memory.

    Messages after `visible` wait for their commit and are not delivered yet.

    Args:
        counts_names: whether the log has messages of several names and counts the messages of each name.
        cache: bounds the committed records in memory; None: all records stay.
    """

    def __init__(self, *, counts_names: bool = False, cache: RecordCache | None = None) -> None:
        self._cache = cache
        self._records: dict[int, Record] = {}
        # Columns with a row for each message, by number. Rows from `_head` on are in use; they include some removed
        # messages, whose size is 0.
        self._numbers = array("q")
        self._sizes = array("I")
        self._instants = array("d")
        self._left = array("I")
        self._name_numbers = array("I")
        self._head = 0
        self._count = 0
        #: The number of the latest message; 0 before the first.
        self.last = 0
        #: The number of the latest committed message.
        self.visible = 0
        #: Bytes of all messages; bytes of the committed messages.
        self.size = self.visible_size = 0
        # `_names`: the names in the order of their numbers. `_by_name`: how many committed messages have each name,
        # by its number; None if all messages have one name.
        self._names: list[str] = []
        self._numbers_of_names: dict[str, int] = {}
        self._by_name: Counter[int] | None = Counter() if counts_names else None

    def __len__(self) -> int:
        return self._count

    def __contains__(self, sequence: int) -> bool:
        return self._place(sequence) >= 0

    def append(self, records: Sequence[Record]) -> None:
        """Append records, which have the next numbers."""
        self._add(records)
        for record in records:
            self._records[record.sequence] = record

    def _add(self, places: Sequence[KeptPlace | Record]) -> None:
        """Add messages. Their numbers rise and are greater than the latest number."""
        sizes = [place.size for place in places]
        self._numbers.extend([place.sequence for place in places])
        self._sizes.extend(sizes)
        self._instants.extend([place.kept_at for place in places])
        self._left.extend(bytes(len(places)))
        if self._by_name is not None:
            for place in places:
                number = self._numbers_of_names.setdefault(place.topic, len(self._names))
                if number == len(self._names):
                    self._names.append(place.topic)
                self._name_numbers.append(number)
        self.last = places[-1].sequence
        self._count += len(sizes)
        self.size += sum(sizes)

    def restore(self, places: Iterable[KeptPlace], last: int) -> None:
        """Load the places of committed messages, without records, and the number `last` of the latest message."""
        rows = iter(places)
        while some := list(islice(rows, _RESTORED_AT_ONCE)):
            self._add(some)
        self.last = self.visible = last
        self.visible_size = self.size
        if self._by_name is not None:
            self._by_name.update(self._name_numbers)

    def reveal(self, records: Sequence[Record]) -> None:
        """Mark the first uncommitted messages as committed. Their records stay in memory until the cache is trimmed."""
        self.visible = records[-1].sequence
        self.visible_size += sum([record.size for record in records])
        if self._by_name is not None:
            for record in records:
                self._by_name[self._numbers_of_names[record.topic]] += 1
        if self._cache is not None:
            self._cache.add(self, records)

    # One message

    def record(self, sequence: int) -> Record | None:
        """Return the record of a message if it is in memory."""
        return self._records.get(sequence)

    def hold(self, record: Record) -> None:
        """Keep the record of a message in memory until the cache is trimmed. Ignore records of removed messages.

        The times in a record from a journal count from the instant at which the message was kept.
        """
        place = self._place(record.sequence)
        if self._cache is not None and record.sequence not in self._records and place >= 0:
            record.kept_at = self._instants[place]
            record.due += record.kept_at
            self._records[record.sequence] = record
            self._cache.add(self, (record,))

    def is_held(self, sequence: int) -> bool:
        """Return whether the record of a message is in memory."""
        return sequence in self._records

    def evict(self, sequence: int) -> int | None:
        """Drop the record of a message from memory; return its size, or None if it is not in memory."""
        record = self._records.pop(sequence, None)
        return None if record is None else record.size

    def kept_at(self, sequence: int) -> float:
        """Return the instant at which an existing message was published."""
        return self._instants[self._place(sequence)]

    def name(self, sequence: int) -> str | None:
        """Return the name of an existing message; None if it is the name of the topic."""
        return None if self._by_name is None else self._names[self._name_numbers[self._place(sequence)]]

    def set_left(self, sequence: int, groups: int) -> None:
        """Set the number of groups that still have to handle an existing message."""
        self._left[self._place(sequence)] = groups

    def left(self, sequence: int) -> int:
        """Return the number of groups that still have to handle an existing message."""
        return self._left[self._place(sequence)]

    # Where messages are

    def first(self) -> int | None:
        """Return the number of the oldest committed message."""
        numbers, sizes = self._numbers, self._sizes
        while self._head < len(numbers) and not sizes[self._head]:
            self._head += 1
        self._tidy_spare()
        if self._head < len(self._numbers) and self._numbers[self._head] <= self.visible:
            return self._numbers[self._head]
        return None

    def following(self, sequence: int) -> Record | None:
        """Return the record with the number `sequence + 1` if it is committed and in memory, else None."""
        record = self._records.get(sequence + 1)
        return record if sequence < self.visible else None

    def after(self, sequence: int) -> int | None:
        """Return the number of the first committed message after a number."""
        if sequence >= self.visible:
            return None
        numbers, sizes = self._numbers, self._sizes
        place = self._place(sequence + 1)
        if place < 0:
            place = bisect_right(numbers, sequence, self._head)
            while place < len(numbers) and not sizes[place]:
                place += 1
        if place < len(numbers) and numbers[place] <= self.visible:
            return numbers[place]
        return None

    def absent(self, sequence: int) -> Sequence[int]:
        """Return the numbers of the next messages that are not in memory, at most as many as one reading has."""
        found: list[int] = []
        size = 0
        for place in range(bisect_left(self._numbers, sequence, self._head), len(self._numbers)):
            number = self._numbers[place]
            if number > self.visible or len(found) >= _READ_MESSAGES or size >= _READ_BYTES:
                break
            if self._sizes[place] and number not in self._records:
                found.append(number)
                size += self._sizes[place]
        return found

    def since(self, instant: float) -> int:
        """Return the number that precedes the first committed message since an instant."""
        self._tidy()
        place = bisect_left(self._instants, instant)
        if place < len(self._numbers) and self._numbers[place] <= self.visible:
            return self._numbers[place] - 1
        return self.visible

    def first_since(self, instant: float) -> int:
        """Return the number of the first message since an instant, committed or not; `last + 1` if there are none."""
        place = bisect_left(self._instants, instant, self._head)
        return self._numbers[place] if place < len(self._numbers) else self.last + 1

    def before(self, sequence: int, count: int) -> int:
        """Return the first number of the last `count` messages up to a number; removed messages may count, too."""
        place = bisect_right(self._numbers, sequence, self._head) - count
        return self._numbers[max(place, self._head)] if self._head < len(self._numbers) else sequence

    def between(self, first: int, last: int) -> list[int]:
        """Return the numbers of the messages from `first` to `last`, committed or not."""
        numbers, sizes = self._numbers, self._sizes
        start, end = bisect_left(numbers, first, self._head), bisect_right(numbers, last, self._head)
        return [numbers[place] for place in range(start, end) if sizes[place]]

    def most_between(self, first: int, last: int) -> int:
        """Return an upper bound for the number of messages from `first` to `last`."""
        return max(
            0, bisect_right(self._numbers, last, self._head) - bisect_left(self._numbers, first, self._head)
        )

    def count_after(self, sequence: int) -> int:
        """Return how many committed messages have greater numbers."""
        if sequence >= self.visible:
            return 0
        if len(self._numbers) - self._head != self._count:
            self._tidy()
        return (
            len(self._numbers)
            - bisect_right(self._numbers, sequence, self._head)
            - (self.last - self.visible)
        )

    def names_after(self, sequence: int) -> Mapping[str, int]:
        """Return, for each name, how many committed messages have greater numbers."""
        counts = self._by_name
        assert counts is not None
        first = self.first()
        if first is not None and sequence >= first:
            self._tidy()
            end = bisect_right(self._numbers, self.visible)
            counts = Counter(self._name_numbers[bisect_right(self._numbers, sequence) : end])
        return {self._names[number]: count for number, count in counts.items()}

    def newer(self, sequence: int) -> Iterator[int]:
        """Yield the numbers of the committed messages after a number."""
        self._tidy()
        end = bisect_right(self._numbers, self.visible)
        yield from self._numbers[bisect_right(self._numbers, sequence) : end]

    # The end of messages

    def remove(self, sequence: int) -> None:
        """Remove a kept message."""
        place = self._place(sequence)
        size = self._sizes[place]
        self.size -= size
        if sequence <= self.visible:
            self.visible_size -= size
            held = self.evict(sequence)
            if held is not None and self._cache is not None:
                self._cache.remove(held)
            if self._by_name is not None:
                self._count_out(self._name_numbers[place])
        self._sizes[place] = 0
        self._count -= 1
        self._tidy_spare()

    def undo(self) -> None:
        """Remove all messages that are not committed."""
        self._tidy()
        end = bisect_right(self._numbers, self.visible)
        for place in range(end, len(self._numbers)):
            del self._records[self._numbers[place]]
            self.size -= self._sizes[place]
            self._count -= 1
        for column in (self._numbers, self._sizes, self._instants, self._left, self._name_numbers):
            del column[end:]
        self.last = self.visible

    def _place(self, sequence: int) -> int:
        """Return the row of a message; -1 if the message is not kept."""
        numbers, head = self._numbers, self._head
        if head >= len(numbers):
            return -1
        # Most messages have consecutive numbers, so the row can be computed.
        place = head + sequence - numbers[head]
        if not head <= place < len(numbers) or numbers[place] != sequence:
            place = bisect_left(numbers, sequence, head)
            if place == len(numbers) or numbers[place] != sequence:
                return -1
        return place if self._sizes[place] else -1

    def _count_out(self, name: int) -> None:
        assert self._by_name is not None
        self._by_name[name] -= 1
        if not self._by_name[name]:
            del self._by_name[name]

    def _tidy_spare(self) -> None:
        if len(self._numbers) > _SPARE + 2 * self._count:
            self._tidy()

    def _tidy(self) -> None:
        """Remove the rows of removed messages."""
        if len(self._numbers) == self._count:
            self._head = 0
            return
        kept = [place for place in range(self._head, len(self._numbers)) if self._sizes[place]]
        self._numbers = array("q", (self._numbers[place] for place in kept))
        self._sizes = array("I", (self._sizes[place] for place in kept))
        self._instants = array("d", (self._instants[place] for place in kept))
        self._left = array("I", (self._left[place] for place in kept))
        if self._by_name is not None:
            self._name_numbers = array("I", (self._name_numbers[place] for place in kept))
            self._tidy_names(self._by_name)
        self._head = 0

    def _tidy_names(self, counts: Counter[int]) -> None:
        """Remove names that no message has."""
        present = sorted(set(self._name_numbers))
        if len(self._names) > _SPARE + 2 * len(present):
            numbers = {old: new for new, old in enumerate(present)}
            self._name_numbers = array("I", (numbers[old] for old in self._name_numbers))
            self._by_name = Counter({numbers[old]: count for old, count in counts.items()})
            self._names = [self._names[old] for old in present]
            self._numbers_of_names = {name: number for number, name in enumerate(self._names)}

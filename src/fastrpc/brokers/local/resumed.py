"""The messages beyond the cursor of a group that had started before the broker did."""

from collections.abc import Callable

from fastrpc.brokers.local.records import Entry, Record, SavedGroup

__all__ = ["Resumed"]


class Resumed:
    """Knows settled and counted messages from the journal; all others were started once.

    Attributes:
        passed: the number up to which this holds; 0: for no message.
        settled: the numbers of settled messages that the group has not passed yet.
    """

    def __init__(self) -> None:
        self.passed = 0
        self.settled: set[int] = set()
        self._counted: dict[int, tuple[int, float]] = {}

    def restore(self, saved: SavedGroup, is_kept: Callable[[int], bool]) -> None:
        """Begin with the journal's record of a group, about the messages that are kept for it."""
        self.passed = saved.passed
        self.settled = {number for number in saved.settled if number > saved.position and is_kept(number)}
        self._counted = {number: counted for number, counted in saved.counted.items() if is_kept(number)}

    def entry_of(self, record: Record) -> Entry:
        """Return the entry of a message that the group passes now."""
        sequence = record.sequence
        entry = Entry(sequence, record.key, 0, record.due, False, False, record)
        counted = self._counted.pop(sequence, None) if self._counted else None
        if counted is not None:
            # A journal counts a message that only waited before it notes a start beyond that message.
            entry.deliveries, entry.due = counted
            entry.is_counted = True
        elif sequence <= self.passed:
            entry.deliveries = 1
        return entry

    def drop(self, sequence: int) -> bool:
        """Forget a message beyond the cursor; return whether it was settled."""
        self._counted.pop(sequence, None)
        if sequence not in self.settled:
            return False
        self.settled.discard(sequence)
        return True

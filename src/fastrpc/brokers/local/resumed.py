"""Messages beyond a group's cursor that were delivered before the broker restarted."""

from collections.abc import Callable

from fastrpc.brokers.local.records import Entry, Record, SavedGroup

__all__ = ["Resumed"]


class Resumed:
    """The settled and counted messages from the journal. Each other message up to `passed` was delivered once.

    Attributes:
        passed: the last number that was delivered before the restart; 0 if there was no delivery.
        settled: the numbers of settled messages beyond the cursor.
    """

    def __init__(self) -> None:
        self.passed = 0
        self.settled: set[int] = set()
        self._counted: dict[int, tuple[int, float]] = {}

    def restore(self, saved: SavedGroup, is_kept: Callable[[int], bool]) -> None:
        """Load the journal's state of a group, without messages that are no longer kept."""
        self.passed = saved.passed
        self.settled = {number for number in saved.settled if number > saved.position and is_kept(number)}
        self._counted = {number: counted for number, counted in saved.counted.items() if is_kept(number)}

    def entry_of(self, record: Record) -> Entry:
        """Return the entry of a message that the cursor reaches."""
        sequence = record.sequence
        entry = Entry(sequence, record.key, 0, record.due, False, False, record)
        counted = self._counted.pop(sequence, None) if self._counted else None
        if counted is not None:
            # 0 deliveries means that the cursor passed the message before, but the message had to wait.
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

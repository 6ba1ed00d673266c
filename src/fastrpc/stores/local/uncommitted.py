"""Changes of a store that wait for their commit, and the adapter that writes them to a journal."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastrpc.stores.base import Item, ItemChange, Journal, LeaseChange, Saved
from fastrpc.stores.local.history import History, change_size

__all__ = ["HistoryJournal", "Uncommitted"]


@dataclass(frozen=True, slots=True)
class Uncommitted:
    """A change that is not committed yet."""

    change: ItemChange | LeaseChange

    #: The previous state: the item of the key, or the seconds of the lease; None if it did not exist.
    before: Item[bytes] | float | None

    @property
    def size(self) -> int:
        """The bytes of the key and the value."""
        return change_size(self.change) if isinstance(self.change, ItemChange) else 0


class HistoryJournal:
    """An adapter that makes a `Journal` usable for group commits. Each commit also drops the compacted history."""

    def __init__(self, journal: Journal, history: History) -> None:
        self._journal, self._history = journal, history

    def open(self) -> Saved:
        return self._journal.open()

    def commit(self, changes: Sequence[Uncommitted]) -> None:
        # Reading `compacted` in this thread is safe: the history changes only between two commits.
        self._journal.commit([one.change for one in changes], self._history.compacted)

    def close(self) -> None:
        self._journal.close()

    def room(self) -> int:
        return self._journal.room()

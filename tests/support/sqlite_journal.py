"""The file of a broker as the journal of a history that a test plays by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fastrpc.brokers.embedded import KeptChanges
from fastrpc.brokers.local.records import Change, MessagesAppended, Record, SavedGroup, SavedTopic
from fastrpc.brokers.sqlite import SqliteBrokerJournal

__all__ = ["SqliteHistory"]


class SqliteHistory:
    """Takes changes as `BrokerJournal` does, and has them in a folder.

    Args:
        now: returns the instant.
        wall: returns the same instant of the wall clock, in seconds.
    """

    def __init__(self, folder: Path, now: Callable[[], float], wall: Callable[[], float]) -> None:
        self._folder, self._now, self._wall = folder, now, wall
        self._pending: list[Change] = []
        self._uncommitted: set[int] = set()
        self._journal = self._made()
        self._journal.open()

    def _made(self) -> SqliteBrokerJournal:
        return SqliteBrokerJournal(self._folder, sync="normal", clock=self._now, wall=self._wall)

    def __call__(self, change: Change) -> None:
        self._pending.append(change)

    def commit(self, uncommitted: Sequence[Record]) -> None:
        """Keep all changes but messages that wait."""
        waiting = {id(record) for record in uncommitted}
        later = [
            one
            for one in self._pending
            if isinstance(one, MessagesAppended) and id(one.records[0]) in waiting
        ]
        self._journal.commit([KeptChanges([one for one in self._pending if one not in later], 0)])
        self._pending = list[Change](later)

    def undo(self, lost: Sequence[Record]) -> None:
        """Forget messages that wait."""
        gone = {id(record) for record in lost}
        self._pending = [
            one
            for one in self._pending
            if not isinstance(one, MessagesAppended) or id(one.records[0]) not in gone
        ]

    def read(self, topic: str, numbers: Sequence[int]) -> Sequence[Record]:
        """Return messages; none of them is damaged."""
        records, damaged = self._journal.read(topic, numbers)
        assert not damaged
        return records

    def saved(self) -> tuple[Sequence[SavedTopic], Sequence[SavedGroup]]:
        """Close the folder, and return all that it keeps."""
        self.commit([])
        self.close()
        self._journal = self._made()
        kept = self._journal.open()
        return kept.topics, kept.groups

    def close(self) -> None:
        """Close the folder."""
        self._journal.close()

"""The oldest message of a group that is neither settled nor dead."""

from collections.abc import Mapping
from typing import Protocol

from fastrpc.brokers.local.log import Log
from fastrpc.brokers.local.records import Entry

__all__ = ["OldestMessage"]


class _Holder(Protocol):
    """A group."""

    cursor: int

    def holds(self, sequence: int) -> bool: ...


class OldestMessage:
    """Finds the oldest message; each search continues where the last search found no message left.

    Args:
        cursor: the number that precedes the first message of the group.
    """

    def __init__(self, cursor: int) -> None:
        # No message is left between the cursor and this number.
        self._empty_to = cursor

    def kept_at(
        self, group: _Holder, log: Log, started: Mapping[int, Entry], replays: Mapping[int, Entry]
    ) -> float | None:
        """Return the instant at which the oldest message was published; None if no message is left.

        Args:
            started: the messages up to the cursor, by number and in order.
            replays: the replayed messages, by number.
        """
        found = next((number for number in started if number in log), None)
        if found is None:
            self._empty_to = max(self._empty_to, group.cursor)
            while (found := log.after(self._empty_to)) is not None and not group.holds(found):
                self._empty_to = found
        replayed = min(replays, default=None)
        if replayed is not None and (found is None or replayed < found):
            record = replays[replayed].record
            assert record is not None
            return record.kept_at
        return None if found is None else log.kept_at(found)

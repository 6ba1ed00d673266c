"""The delayed messages of a group."""

from collections.abc import Iterator, Mapping
from heapq import heapify, heappop, heappush
from typing import Final

from fastrpc.brokers.local.alarms import WOKEN_AT_ONCE
from fastrpc.brokers.local.records import Entry

__all__ = ["DelayedMessages"]

#: Most outdated instants in the heap beyond the number of current instants; with more, the heap is rebuilt.
_SPARE: Final = 64


class DelayedMessages:
    """A heap of instants with the numbers of their messages. Some entries may be outdated.

    Args:
        open, replays: all messages that may wait, by number.
    """

    def __init__(self, open: Mapping[int, Entry], replays: Mapping[int, Entry]) -> None:
        self._open, self._replays = open, replays
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due: float, sequence: int) -> None:
        """Note the instant of a message."""
        heappush(self._heap, (due, sequence))
        if len(self._heap) > _SPARE + 2 * (len(self._open) + len(self._replays)):
            # Instants that have passed stay until their messages are checked.
            self._heap = list({one for one in self._heap if self._counts(*one)})
            heapify(self._heap)

    def _counts(self, due: float, sequence: int) -> bool:
        entry = self._open.get(sequence) or self._replays.get(sequence)
        return entry is not None and entry.member is None and entry.due == due

    def next(self) -> float | None:
        """Return the next instant."""
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[int]:
        """Yield and forget the numbers of messages that are due, at most `WOKEN_AT_ONCE` of them."""
        for _ in range(WOKEN_AT_ONCE):
            if not self._heap or self._heap[0][0] > now:
                return
            yield heappop(self._heap)[1]

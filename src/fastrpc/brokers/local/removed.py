"""The ids of messages that topics no longer keep, for publications that are repeated."""

from typing import Final, Protocol

__all__ = ["REMOVED_IDS", "REPEATED_SECONDS", "RemovedIds"]

#: The number of latest ids that are always remembered. At most twice as many are remembered, some 15 MB.
REMOVED_IDS: Final = 50_000

#: Age in seconds from which the id of a removed message is not remembered: few publications are repeated so late.
REPEATED_SECONDS: Final = 60.0


class _Topic(Protocol):
    removed_until: float


class RemovedIds:
    """Remembers the latest ids of all topics in two halves. The older half is forgotten as a whole."""

    def __init__(self) -> None:
        self._new: dict[str, int] = {}
        self._old: dict[str, int] = {}
        # The topics of the new and of the old half, with the instant at which their latest message was removed.
        self._new_ends: dict[_Topic, float] = {}
        self._old_ends: dict[_Topic, float] = {}

    def add(self, topic: _Topic, id: str, sequence: int, now: float) -> None:
        """Remember the id of a message that is being removed."""
        self._new[id] = sequence
        self._new_ends[topic] = now
        if len(self._new) >= REMOVED_IDS:
            for forgetting, end in self._old_ends.items():
                forgetting.removed_until = max(forgetting.removed_until, end)
            self._old, self._new = self._new, {}
            self._old_ends, self._new_ends = self._new_ends, {}

    def find(self, id: str) -> int | None:
        """Return the number of the removed message with this id, or None."""
        number = self._new.get(id)
        return self._old.get(id) if number is None else number

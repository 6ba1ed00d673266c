"""Lines of messages with the same key. Only the first of a line may be under way; the others wait for it."""

from collections.abc import Container
from heapq import heappop, heappush

__all__ = ["KeyLines"]


class KeyLines:
    """A line of message numbers for each key, the lowest number first."""

    def __init__(self) -> None:
        self._lines: dict[str, list[int]] = {}
        self._busy: set[str] = set()

    def enter(self, key: str, sequence: int) -> None:
        """Add a message to the line of its key."""
        line = self._lines.get(key)
        if line is None:
            self._lines[key] = [sequence]
        else:
            heappush(line, sequence)

    def may_start(self, key: str, sequence: int) -> bool:
        """Return whether a message is the first of its key and no message of the key is under way."""
        return key not in self._busy and self._lines[key][0] == sequence

    def start(self, key: str) -> None:
        """Note that a message of a key is under way."""
        self._busy.add(key)

    def end(self, key: str) -> None:
        """Note that no message of a key is under way."""
        self._busy.discard(key)

    def first(self, key: str, open: Container[int], replays: Container[int]) -> int | None:
        """Return the first remaining message of a key; None: the line is empty, or a message is under way."""
        line = self._lines.get(key)
        if line is None:
            return None
        while line and line[0] not in open and line[0] not in replays:
            heappop(line)
        if not line:
            del self._lines[key]
            return None
        return None if key in self._busy else line[0]

"""Decide which messages a group gets, by their topic names."""

from typing import Final

from fastrpc.brokers.base.names import TopicPattern

__all__ = ["Coverage"]

#: Most names whose result is cached.
_KNOWN_NAMES: Final = 1_000


class Coverage:
    """Matches names with the pattern of a group and caches the results.

    Args:
        is_whole: whether the group has the pattern of its topic, and so gets every message.
    """

    def __init__(self, pattern: TopicPattern, *, is_whole: bool) -> None:
        self._pattern = pattern
        self._is_whole = is_whole
        self._known: dict[str, bool] = {}

    def has(self, name: str) -> bool:
        """Return whether the group gets messages of this name."""
        if self._is_whole:
            return True
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _KNOWN_NAMES:
                self._known.clear()
            known = self._known[name] = self._pattern.matches(name)
        return known

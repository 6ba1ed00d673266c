"""Reasons that are logged at most once a minute."""

import time
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["ToldReasons"]

#: Seconds between two log lines of one reason.
_TOLD_SECONDS: Final = 60.0
#: Reasons that are kept; the least recently logged one is forgotten first.
_MOST_REASONS: Final = 1_000


class ToldReasons:
    """Decides which reasons are logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # For each reason, the instant of its last log line and the number of its occurrences since then; the oldest
        # first.
        self._told: dict[Hashable, tuple[float, int]] = {}

    def note(self, reason: Hashable) -> int | None:
        """Record an occurrence of a reason.

        Returns:
            None if it was logged in the last minute; otherwise the number of unlogged repetitions since, to be logged.
        """
        now = self._clock()
        told = self._told.get(reason)
        if told is not None and now - told[0] < _TOLD_SECONDS:
            self._told[reason] = told[0], told[1] + 1
            return None
        self._told.pop(reason, None)
        self._told[reason] = now, 0
        if len(self._told) > _MOST_REASONS:
            del self._told[next(iter(self._told))]
        return 0 if told is None else told[1]

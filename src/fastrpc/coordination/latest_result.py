"""The latest result, shared by all callers that need it."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

__all__ = ["LatestResult"]

T = TypeVar("T")

#: Seconds for which a result is kept. Callers that were woken by the same change are answered within this time.
_KEPT_SECONDS: Final = 1.0


class LatestResult(Generic[T]):
    """A cache of one result for about a second."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._found: T | None = None
        self._made_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return the result for a key. Call `make` unless the cached result has this key."""
        found = self._found
        if found is None or self._key != key:
            self._key, found = key, make()
            self._found = found
            loop = asyncio.get_running_loop()
            self._made_at = loop.time()
            if self._timer is None:
                self._timer = loop.call_later(_KEPT_SECONDS, self._forget)
        return found

    def _forget(self) -> None:
        """Drop the result, unless it was made after the timer was set: such a result is kept for its own second."""
        loop = asyncio.get_running_loop()
        until = self._made_at + _KEPT_SECONDS
        if loop.time() < until:
            self._timer = loop.call_at(until, self._forget)
        else:
            self._key = self._found = self._timer = None

"""The time at which a server started, on a clock that may be set afterwards."""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["StartInstant"]

#: A smaller change of the clock leaves the instant unchanged: readers compare pages.
_NOTICED_SECONDS: Final = 1.0


class StartInstant:
    """The instant of its making, in seconds since 1970.

    The instant follows a clock that is set, so the age of the server stays true.

    Args:
        wall: returns the seconds since 1970.
        clock: returns an instant in seconds that never decreases.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._clock = wall, clock
        self._made_at, self._shown = clock(), wall()

    def seconds(self) -> float:
        """Return the instant by the present setting of the clock."""
        found = self._wall() - (self._clock() - self._made_at)
        if abs(found - self._shown) > _NOTICED_SECONDS:
            self._shown = found
        return self._shown

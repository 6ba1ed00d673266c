"""The time at which a server started, on a clock that may be set afterwards."""

import time
from collections.abc import Callable
from typing import Final

__all__ = ["StartInstant"]

#: A smaller change of the clock does not change the shown time, because readers compare pages.
_NOTICED_SECONDS: Final = 1.0


class StartInstant:
    """The time at which this object was created, in seconds since 1970.

    If the system clock is set, the time changes with it, so that the shown age of the server stays correct.

    Args:
        wall: returns the seconds since 1970.
        clock: returns monotonic time in seconds.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall, self._clock = wall, clock
        self._made_at, self._shown = clock(), wall()

    def seconds(self) -> float:
        """Return the time, on the clock as it is set now."""
        found = self._wall() - (self._clock() - self._made_at)
        if abs(found - self._shown) > _NOTICED_SECONDS:
            self._shown = found
        return self._shown

"""The groups of an embedded broker, for monitors."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from fastrpc.brokers.base import GroupState
from fastrpc.brokers.local.core import BrokerCore

__all__ = ["CoreGroups"]

#: A reading that blocks the loop for more than this many seconds is followed by a pause of 20 times its duration.
_LONG_LOOK_SECONDS: Final = 0.05
_PAUSE_IN_LOOKS: Final = 20.0


class CoreGroups:
    """Reads the states of a core's groups, on the loop of its broker.

    Args:
        clock: the broker's.
    """

    def __init__(self, core: BrokerCore, clock: Callable[[], float]) -> None:
        self._core = core
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_look = 0.0
        self._found: Sequence[GroupState] = ()

    def begin(self) -> None:
        """Read states on the running loop from now on."""
        self._loop = asyncio.get_running_loop()

    def states(self) -> Sequence[GroupState]:
        """Return the present states. In another thread, return the last known states and schedule a new reading."""
        if _running_loop() is self._loop:
            self._look()
        elif self._loop is not None:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(self._look)
        return self._found

    def _look(self) -> None:
        began = time.monotonic()
        if began < self._next_look:
            return
        self._found = self._core.groups(self._clock())
        ended = time.monotonic()
        if ended - began > _LONG_LOOK_SECONDS:
            self._next_look = ended + (ended - began) * _PAUSE_IN_LOOKS


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None

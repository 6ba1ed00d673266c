"""The groups of a broker in this process, for monitors."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Final

from fastrpc.brokers.base import GroupState
from fastrpc.brokers.local.core import BrokerCore

__all__ = ["CoreGroups"]

#: Seconds for which a look at very many groups may hold the loop before it pauses; the length of a pause, in looks.
_LONG_LOOK_SECONDS: Final = 0.05
_PAUSE_IN_LOOKS: Final = 20.0


class CoreGroups:
    """Looks at the groups of a core on the loop of its broker.

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
        """Look on this loop."""
        self._loop = asyncio.get_running_loop()

    def states(self) -> Sequence[GroupState]:
        """Return the present groups; in another thread, return the groups of the last look, and schedule a new look."""
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

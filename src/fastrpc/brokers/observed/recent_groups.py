"""The groups of a broker at the last look: callers ask at any moment, while a look needs the loop."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final

from fastrpc.brokers.base import GroupState
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.time_limit import time_limit

__all__ = ["RecentGroups"]

logger = logging.getLogger("fastrpc.broker")

#: The shortest pause between two looks: in seconds, and as a multiple of a look's duration, to bound its share of time.
_PAUSE_SECONDS: Final = 10.0
_PAUSE_IN_LOOKS: Final = 20.0

#: Seconds that reading the groups may take.
_LOOK_SECONDS: Final = 5.0


class RecentGroups:
    """Asks a server for its groups while a monitor asks here, once in some seconds at most.

    Args:
        look: returns the groups now.
    """

    def __init__(self, look: Callable[[], Awaitable[Sequence[GroupState]]]) -> None:
        self._look = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._found: Sequence[GroupState] = ()

    def begin(self) -> None:
        """Begin to look, on this loop."""
        self._loop = asyncio.get_running_loop()

    async def end(self) -> None:
        """Stop looking."""
        self._loop = None
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    def states(self) -> Sequence[GroupState]:
        """Return the groups of the last look; an empty list before the first look. Any thread may ask."""
        loop = self._loop
        if loop is not None and time.monotonic() >= self._next_look:
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                loop.call_soon_threadsafe(self._begin_look)
        return self._found

    def _begin_look(self) -> None:
        if self._loop is not None and (self._looking is None or self._looking.done()):
            self._looking = self._loop.create_task(self._look_once(), context=Context())

    async def _look_once(self) -> None:
        began = time.monotonic()
        try:
            async with time_limit(_LOOK_SECONDS):
                self._found = await self._look()
        except (BrokerError, ConfigError, TimeoutError) as error:
            logger.debug("the groups of the broker are unknown: %s", error)
            self._found = ()
        finally:
            ended = time.monotonic()
            self._next_look = ended + max(_PAUSE_SECONDS, (ended - began) * _PAUSE_IN_LOOKS)

"""The last known group states of a broker's server: any thread may read them, while a query needs the event loop."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Final

from fastrpc.brokers.base import GroupState
from fastrpc.cancelling import cancelled
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.time_limit import time_limit

__all__ = ["RecentGroups"]

logger = logging.getLogger("fastrpc.broker")

#: The shortest pause between two queries, in seconds (_PAUSE_SECONDS) and as a multiple of a query's duration
#: (_PAUSE_IN_LOOKS), which bounds the load.
_PAUSE_SECONDS: Final = 10.0
_PAUSE_IN_LOOKS: Final = 20.0

#: Timeout of a query, in seconds.
_LOOK_SECONDS: Final = 5.0


class RecentGroups:
    """Queries a server for its groups when a monitor reads them, but at most once in `_PAUSE_SECONDS`.

    Args:
        look: queries the server and returns the present states.
    """

    def __init__(self, look: Callable[[], Awaitable[Sequence[GroupState]]]) -> None:
        self._look = look
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._found: Sequence[GroupState] = ()

    def begin(self) -> None:
        """Query on the running loop from now on."""
        self._loop = asyncio.get_running_loop()

    async def end(self) -> None:
        """Stop querying."""
        self._loop = None
        if self._looking is not None:
            await cancelled([self._looking])

    def states(self) -> Sequence[GroupState]:
        """Return the states of the last query, none before the first; start a query if due. Any thread may call it."""
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

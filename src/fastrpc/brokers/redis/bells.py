"""Wake waiting takes when a topic has changed. A thread receives these events from one channel."""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Final

from fastrpc.errors import BrokerError
from fastrpc.registries.redis.server import RedisClient
from fastrpc.status import Status

__all__ = ["TopicBell", "Bells"]

logger = logging.getLogger("fastrpc.broker")

#: Seconds without a message after which the client subscribes again, to find out whether the connection is alive.
_QUIET_SECONDS: Final = 10.0

#: _FIRST_PAUSE_SECONDS: seconds until a retry after the first failure of the channel, during which takes poll.
#: _LONGEST_PAUSE_SECONDS: the longest pause after later failures.
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 10.0


class TopicBell:
    """A counter of events that takes can wait for. It belongs to one event loop."""

    def __init__(self) -> None:
        #: The number of rings.
        self.count = 0
        self._waits: set[asyncio.Future[None]] = set()

    def ring(self) -> None:
        """End all waits."""
        self.count += 1
        for wait in self._waits:
            if not wait.done():
                wait.set_result(None)

    async def wait(self, since: int, seconds: float) -> None:
        """Wait until `count` exceeds `since`, for at most some seconds."""
        if self.count != since:
            return
        loop = asyncio.get_running_loop()
        wait = loop.create_future()
        self._waits.add(wait)
        timer = loop.call_later(seconds, _end, wait)
        try:
            await wait
        finally:
            timer.cancel()
            self._waits.discard(wait)


class Bells:
    """Receives the messages of one channel in a thread. Create it on the event loop that uses it.

    Args:
        heard: called in the loop with the contents of messages, or with None if messages may have been lost.
    """

    def __init__(self, client: RedisClient, channel: str, heard: Callable[[set[bytes] | None], None]) -> None:
        self._client = client
        self._channel = channel
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        self._is_over = threading.Event()
        self._hears: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._work, name="fastrpc-redis-bells", daemon=True)

    async def hear(self) -> None:
        """Return once the thread has subscribed to the channel, or has failed once; it keeps trying after a failure."""
        if self._hears is None:
            self._hears = self._loop.create_future()
            self._thread.start()
        await asyncio.shield(self._hears)

    async def close(self) -> None:
        """End the thread."""
        self._is_over.set()
        self._client.close()
        if self._thread.is_alive():
            await self._loop.run_in_executor(None, self._thread.join)

    def _work(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_over.is_set():
            try:
                # Subscribe again after each silence, since this fails if the connection was cut without notice.
                self._client.subscribe("SUBSCRIBE", [self._channel])
                pause = _FIRST_PAUSE_SECONDS
                self._tell(None)
                while messages := self._client.messages(_QUIET_SECONDS, more_seconds=0.0):
                    self._tell({content for _, content in messages})
            except Exception as error:
                # Continue: takes report an unreachable server to their callers. Without this thread, joins would hang.
                if not isinstance(error, BrokerError) or error.status is Status.INTERNAL:
                    logger.exception("the channel %s cannot be received, retry in %g s", self._channel, pause)
                self._tell(None)
                self._is_over.wait(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _tell(self, contents: set[bytes] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._on_messages, contents)
        except RuntimeError:
            # If the loop is closed, no caller waits any more.
            if not self._loop.is_closed():
                raise

    def _on_messages(self, contents: set[bytes] | None) -> None:
        if self._hears is not None and not self._hears.done():
            self._hears.set_result(None)
        if not self._is_over.is_set():
            self._heard(contents)


def _end(wait: "asyncio.Future[None]") -> None:
    if not wait.done():
        wait.set_result(None)

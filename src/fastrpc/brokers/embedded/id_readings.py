"""Read the ids of messages that are only in the journal, for publications that are repeated."""

import asyncio
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from contextvars import Context
from functools import partial
from typing import Final, TypeAlias

from fastrpc.brokers.local.repeats import UnreadError

__all__ = ["IdReadings"]

#: Messages that are read between two commits, which takes about 10 ms.
_READ_AT_ONCE: Final = 5_000

#: A function that reads the ids of a topic's messages, from a first to a last number.
ReadIds: TypeAlias = Callable[[str, int, int], Awaitable[Mapping[str, int]]]


class IdReadings:
    """Reads ids from the journal; all repeats of a topic share one reading.

    Args:
        feed: called with the ids that were read.
    """

    def __init__(self, read: ReadIds, feed: Callable[[UnreadError, Mapping[str, int]], None]) -> None:
        self._read = read
        self._feed = feed
        # By topic.
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def finish(self, unread: UnreadError) -> None:
        """Return once a reading of the topic has ended. Cancelling one caller does not stop the reading."""
        topic = unread.topic
        task = self._under_way.get(topic)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._all(unread), context=Context())
            self._under_way[topic] = task
            task.add_done_callback(partial(self._end, topic))
        await asyncio.shield(task)

    async def _all(self, unread: UnreadError) -> None:
        ids: dict[str, int] = {}
        numbers, start = unread.numbers, 0
        while start < len(numbers):
            # The range includes messages between these numbers that are in memory.
            end = bisect_left(numbers, numbers[start] + _READ_AT_ONCE, start)
            ids.update(await self._read(unread.topic, numbers[start], numbers[end - 1]))
            start = end
        self._feed(unread, ids)

    def _end(self, topic: str, task: asyncio.Task[None]) -> None:
        del self._under_way[topic]
        if not task.cancelled():
            # Retrieve the error here, too: waiting callers raise it, but no caller may be left.
            task.exception()

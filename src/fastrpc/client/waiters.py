"""The calls that wait for a connection."""

import asyncio

from fastrpc._core.base.priority_queue import RANKS

__all__ = ["Waiters"]


class Waiters:
    """Calls that wait for a change of their endpoints.

    They are woken together, by priority and then in the order of arrival: where a new connection has fewer slots than
    calls wait, the first ones take them.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], int] = {}

    async def wait(self, loop: asyncio.AbstractEventLoop, priority: int) -> None:
        """Wait for the next change."""
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiting[waiter] = RANKS[priority]
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def wake(self) -> None:
        """Announce a change to all that wait."""
        waiting, self._waiting = self._waiting, {}
        for waiter in sorted(waiting, key=waiting.__getitem__):
            if not waiter.done():
                waiter.set_result(None)

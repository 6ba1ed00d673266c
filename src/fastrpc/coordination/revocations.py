"""Revoke leases in tasks of the store, so that no lease remains when its owner is cancelled."""

import asyncio
import contextvars

from fastrpc.errors import StoreError
from fastrpc.hosted.verbs import PATIENCE_SECONDS, pauses
from fastrpc.peers.outcomes import is_away
from fastrpc.stores.base import StoreBackend
from fastrpc.time_limit import time_limit

__all__ = ["Revocations"]


class Revocations:
    """Revokes leases, each in a task that repeats its attempts until the lease has expired."""

    def __init__(self) -> None:
        # The running tasks, each with the most seconds for which `close` waits for it.
        self._running: dict[asyncio.Task[None], float] = {}
        self._is_closed = False

    async def revoke(
        self, backend: StoreBackend, lease: str, ttl: float, context: contextvars.Context
    ) -> None:
        """End a lease and remove its items; return after the first attempt.

        If the call is cancelled, the attempts continue.

        Args:
            ttl: the seconds after which the lease expires by itself.
            context: the context of the task, so that no deadline of a caller limits it.

        Raises:
            StoreError, TimeoutError: the first attempt failed; further attempts follow, except if the store is closed.
        """
        if self._is_closed:
            raise StoreError(f"the lease {lease} was not revoked: the store is closed", processed="no")
        loop = asyncio.get_running_loop()
        # The error is passed as a result: an exception that is never retrieved would be logged if this is cancelled.
        attempted: asyncio.Future[Exception | None] = loop.create_future()
        task = loop.create_task(_keep_revoking(backend, lease, ttl, attempted), context=context)
        self._running[task] = _patience(ttl)
        task.add_done_callback(self._running.pop)
        error = await attempted
        if error is not None:
            raise error

    async def close(self) -> None:
        """Wait for all revocations, for each at most 5 s or its ttl; then stop them, and refuse further revocations.

        This includes revocations that start during the wait, within the same 5 s.
        """
        loop = asyncio.get_running_loop()
        timers: dict[asyncio.Task[None] | None, asyncio.TimerHandle] = {
            None: loop.call_later(PATIENCE_SECONDS, self.give_up)
        }
        try:
            while running := dict(self._running):
                for task in running.keys() - timers.keys():
                    timers[task] = loop.call_later(running[task], task.cancel)
                await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for timer in timers.values():
                timer.cancel()
            self.give_up()

    def give_up(self) -> None:
        """Stop all revocations, so that the leases expire by themselves, and refuse further revocations."""
        self._is_closed = True
        for task in list(self._running):
            task.cancel()


async def _keep_revoking(
    backend: StoreBackend, lease: str, ttl: float, attempted: "asyncio.Future[Exception | None]"
) -> None:
    pause = pauses()
    try:
        async with time_limit(ttl) as limit:
            while True:
                error = await _attempt(backend, lease, _patience(ttl))
                if not attempted.done():
                    attempted.set_result(error)
                may_succeed = isinstance(error, TimeoutError) or (
                    isinstance(error, StoreError) and is_away(error)
                )
                if not may_succeed:
                    return
                await asyncio.sleep(pause())
    except TimeoutError:
        # The lease has expired.
        if not limit.expired():
            raise
    except asyncio.CancelledError:
        if not attempted.done():
            text = f"the lease {lease} was not revoked before the store closed"
            attempted.set_result(StoreError(text, processed="unknown"))
        raise
    finally:
        if not attempted.done():
            attempted.set_result(TimeoutError(f"the lease {lease} was not revoked in time"))


async def _attempt(backend: StoreBackend, lease: str, seconds: float) -> Exception | None:
    """Make one attempt; return its error, or None."""
    try:
        async with time_limit(seconds):
            await backend.revoke(lease)
    except Exception as error:
        return error
    return None


def _patience(ttl: float) -> float:
    return min(PATIENCE_SECONDS, ttl)

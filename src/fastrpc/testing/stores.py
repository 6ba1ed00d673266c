"""A store in memory whose clock is moved by the test."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastrpc.coordination.lease import StoreLease
from fastrpc.coordination.locks import Lock
from fastrpc.coordination.store import Store
from fastrpc.stores.local import LocalStore
from fastrpc.testing.clock import FakeClock

__all__ = ["SteeredStore", "store"]

#: The step of the clock: the shortest lease, of one second, is renewed three times per second.
_STEP_SECONDS: Final = 0.3

#: Loop iterations for a renewal, or for the end of a block that a loss cancels.
_TURNS: Final = 4


class SteeredStore(Store):
    """A store whose leases expire only by `advance`, and whose locks can be taken away."""

    def __init__(self, clock: FakeClock) -> None:
        self._time = clock
        self._local = LocalStore(clock=clock)
        self._made: weakref.WeakSet[StoreLease] = weakref.WeakSet()
        super().__init__(self._local, clock=clock)

    async def advance(self, seconds: float) -> None:
        """Move the clock: renewed leases continue, others expire."""
        while seconds > 0:
            self._time.advance(min(seconds, _STEP_SECONDS))
            seconds -= _STEP_SECONDS
            for lease in list(self._made):
                lease.check()
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            while self._local.content.expire() == 0.0:
                pass

    async def lose(self, lock: Lock | StoreLease) -> None:
        """Take a lock or lease away. Its block is cancelled, and the next waiter gets it."""
        lease = lock if isinstance(lock, StoreLease) else lock.lease
        await self._local.revoke(lease.id)
        lease.lose("the test took it away")

    def lease(self, ttl: float) -> StoreLease:
        """Return a lease, as `Store.lease` does."""
        lease = super().lease(ttl)
        self._made.add(lease)
        return lease

    def _lock(self, name: str, **options: Any) -> Lock:
        lock = super()._lock(name, **options)
        self._made.add(lock.lease)
        return lock


@asynccontextmanager
async def store(clock: FakeClock | None = None) -> AsyncIterator[SteeredStore]:
    """Yield a new store in memory, with `advance` and `lose`.

    ::

        async with fastrpc.testing.store() as store, store.lock("jobs") as lock:
            await store.lose(lock)

    Args:
        clock: the clock of the leases; None: a new clock.
    """
    async with SteeredStore(FakeClock() if clock is None else clock) as opened:
        yield opened

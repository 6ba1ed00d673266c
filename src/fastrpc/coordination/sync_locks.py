"""Blocking locks and leases. A thread cannot be cancelled, so it has to check whether its lock is lost."""

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Self

from fastrpc.coordination.lease import StoreLease
from fastrpc.coordination.locks import Lock
from fastrpc.errors import LockLostError, StoreError, copied_error
from fastrpc.hosted.blocking import BlockingThread
from fastrpc.stores.base import Unchanged

__all__ = ["SyncLease", "SyncLock"]


class _Holding:
    """A task on the event loop that holds a lock or a lease for a thread."""

    def __init__(self, thread: BlockingThread, held: Lock | StoreLease, lost: threading.Event) -> None:
        self._thread = thread
        self._held = held
        self._lost = lost
        self._task: asyncio.Task[None] | None = None
        self._leaving = asyncio.Event()

    def enter(self) -> None:
        try:
            self._thread.run(self._enter())
        except BaseException:
            # Release the lock: an interrupt may arrive after the lock was acquired and before the block starts.
            with contextlib.suppress(StoreError, RuntimeError):
                self._thread.run(self._abandon())
            raise

    def leave(self) -> None:
        self._thread.run(self._leave())

    async def _enter(self) -> None:
        entered = asyncio.Event()
        self._task = asyncio.create_task(self._hold(entered))
        waiting = asyncio.create_task(entered.wait())
        try:
            await asyncio.wait([self._task, waiting], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            # The thread was interrupted.
            self._task.cancel()
            await asyncio.wait([self._task])
            raise
        finally:
            waiting.cancel()
        if not entered.is_set():
            self._task.result()

    async def _hold(self, entered: asyncio.Event) -> None:
        try:
            async with self._held:
                entered.set()
                await self._leaving.wait()
        except LockLostError:
            if not entered.is_set():
                raise
            self._lost.set()

    async def _abandon(self) -> None:
        self._leaving.set()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _leave(self) -> None:
        self._leaving.set()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()


class SyncLease:
    """A lease for `with`, which is renewed while the block runs.

    Attributes:
        lost: an event that is set when the lease may have ended.
    """

    def __init__(self, thread: BlockingThread, lease: StoreLease) -> None:
        self.lost = threading.Event()
        self._lease = lease
        self._holding = _Holding(thread, lease, self.lost)

    @property
    def id(self) -> str:
        """The name of the lease in the store, for `put(…, lease=…)`."""
        return self._lease.id

    def check(self) -> None:
        """Raise LockLostError if the lease is lost."""
        _check(self.lost, self._lease)

    def __enter__(self) -> Self:
        self._holding.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holding.leave()
        if kind is None:
            self.check()


class SyncLock:
    """A lock, one slot of a semaphore or an election for `with`.

    The block continues when the lock is lost: check `lost` or call `check` between two steps. At the end of the block
    LockLostError is raised.

    Attributes:
        lost: an event that is set when another program may hold the lock.
    """

    def __init__(self, thread: BlockingThread, lock: Lock) -> None:
        self.lost = threading.Event()
        self._thread = thread
        self._lock = lock
        self._holding = _Holding(thread, lock, self.lost)

    @property
    def name(self) -> str:
        return self._lock.name

    @property
    def token(self) -> int:
        """The token, a number that is greater for each later holder; 0 before this object has held the lock."""
        return self._lock.token

    @property
    def is_held(self) -> bool:
        """True if, by the clock of this machine, no other program can hold the lock yet."""
        return self._lock.is_held

    def held(self) -> Unchanged:
        """Return the condition for a transaction that this program still holds the lock, under the same token."""
        return self._lock.held()

    def check(self) -> None:
        """Raise LockLostError if the lock is lost."""
        _check(self.lost, self._lock.lease)

    def release(self) -> None:
        """Release the lock before the block ends."""
        self._thread.run(self._lock.release())

    def __enter__(self) -> Self:
        self._holding.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holding.leave()
        if kind is None:
            self.check()


def _check(lost: threading.Event, lease: StoreLease) -> None:
    if lost.is_set() and lease.loss is not None:
        raise copied_error(lease.loss) from lease.loss

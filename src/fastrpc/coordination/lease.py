"""A lease that is renewed while a block runs. The block is cancelled when the lease may have expired.

Here the lease is valid for 0.9 of its seconds, counted from when the last confirmed renewal was sent. The store keeps
it for the whole time, counted from when it received the renewal. So the block is always cancelled before the store
ends the lease.
"""

import asyncio
import contextvars
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from fastrpc.coordination.revocations import Revocations
from fastrpc.coordination.verbs import finish
from fastrpc.errors import LockLostError, StoreError
from fastrpc.gauges import count
from fastrpc.stores.base import StoreBackend
from fastrpc.time_limit import time_limit

__all__ = ["StoreLease", "boot_time"]

#: The share of a lease's seconds for which it counts as valid here. The store keeps it for the whole time.
_VALID_SHARE: Final = 0.9

#: Divisors of a lease's seconds. They give the pause between renewals (_RENEWALS), the pause before a retry
#: (_ATTEMPTS), and the pause between checks of the clock (_LOOKS), which find out that the machine was suspended.
_RENEWALS: Final = 3
_ATTEMPTS: Final = 15
_LOOKS: Final = 30


#: A clock that also counts while the machine is suspended; some systems lack it.
_BOOT_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)


def boot_time() -> float:
    """Return the seconds since the machine booted, including suspensions if the system counts them."""
    return time.monotonic() if _BOOT_CLOCK is None else time.clock_gettime(_BOOT_CLOCK)


class StoreLease:
    """A lease of a store while its block runs: an asynchronous context manager, to be entered once.

    When the lease is lost, the task that entered the block is cancelled, and the block raises LockLostError, in the way
    of `asyncio.timeout`.

    Attributes:
        id: the name of the lease in the store, for `put(…, lease=…)`.
        ttl: the seconds for which the store keeps it after a renewal.
        loss: the error that the block raised because the lease was lost, or None.
        revocations: the revocations of leases, for which the store waits when it is closed.
    """

    def __init__(
        self,
        backend: StoreBackend,
        ttl: float,
        *,
        owner: str = "the lease",
        clock: Callable[[], float] = boot_time,
    ) -> None:
        self.id = ""
        self.ttl = ttl
        self.loss: LockLostError | None = None
        self.revocations = Revocations()
        self._backend = backend
        self._owner = owner
        self._clock = clock
        self._valid_until = self._renewal_due = 0.0
        self._is_over = False
        # `_task`: the task that entered the block. `_cancelling`: its count of cancellations at that time.
        # `_has_cancelled`: whether the lease has cancelled it.
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._has_cancelled = False
        # An empty context for renewals and the revocation, so that no deadline of the entering task applies.
        self._context = contextvars.Context()
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._failure: Exception | None = None
        self._lost: str | None = None

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        if self.id or task is None:
            cause = "was entered before; make another one" if self.id else "must be entered in a task"
            raise RuntimeError(f"{self._owner} {cause}")
        in_time = self._backend.limits.ends_in_time
        self.id = await finish(f"lease of {self._owner}", self._make, writes=True, ends_in_time=in_time)
        if not self.is_valid:
            # Creating the lease took too long. Raise the error directly: before Python 3.13 a running task cannot take
            # back a cancellation of itself.
            self._lost = self._reason()
            raise self._told_loss()
        self._task, self._cancelling = task, task.cancelling()
        self.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._is_over and self._lost is None and not self.is_valid:
            # The process was suspended, or its loop was blocked.
            self._lost = self._reason()
        await self.end()
        is_ours = False
        if self._has_cancelled and self._task is not None:
            is_ours = self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError
        self._task = None
        if self._lost is not None and (kind is None or is_ours):
            raise self._told_loss() from error

    @property
    def is_valid(self) -> bool:
        """True if the store cannot have ended the lease yet."""
        return not self._is_over and self._lost is None and self._clock() < self._valid_until

    def check(self) -> None:
        """Check the clock: renew the lease if it is due, or lose it if it may have expired. A timer calls this, too."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is None or self._is_over or self._lost is not None:
            return
        now = self._clock()
        if now >= self._valid_until:
            self.lose(self._reason())
            return
        loop = asyncio.get_running_loop()
        if now >= self._renewal_due and self._renewal is None:
            self._renewal = loop.create_task(self._renew(), context=self._context)
        pause = min(self._valid_until - now, self.ttl / _LOOKS)
        self._timer = loop.call_later(pause, self.check, context=self._context)

    def lose(self, reason: str) -> None:
        """Count the lease as lost and cancel its block."""
        if self._task is None or self._is_over or self._lost is not None:
            return
        self._lost = reason
        self._stop()
        self._has_cancelled = True
        self._task.cancel()

    async def end(self) -> None:
        """End the lease and its items in the store. Wait for one attempt; further attempts run in the background."""
        self._stop()
        is_alive, self._is_over = self.is_valid, True
        if is_alive:
            try:
                # The caller's deadline does not apply: even if it has passed, waiting contenders must not be delayed.
                await self.revocations.revoke(self._backend, self.id, self.ttl, self._context)
            except (StoreError, TimeoutError) as error:
                self._failure = error

    async def _make(self) -> str:
        sent = self._clock()
        name = await self._backend.lease(self.ttl)
        self._confirm(sent)
        return name

    def _confirm(self, sent: float) -> None:
        self._valid_until = sent + _VALID_SHARE * self.ttl
        self._renewal_due = sent + self.ttl / _RENEWALS

    async def _renew(self) -> None:
        sent = self._clock()
        try:
            async with time_limit(self.ttl / _RENEWALS):
                is_alive = await self._backend.renew(self.id)
        except Exception as error:
            self._failure = error
            self._renewal_due = self._clock() + self.ttl / _ATTEMPTS
        else:
            if is_alive:
                self._confirm(sent)
            else:
                self.lose("the store has ended it")
        finally:
            self._renewal = None

    def _told_loss(self) -> LockLostError:
        count("locks_lost")
        self.loss = LockLostError(f"{self._owner} was lost: {self._lost}")
        return self.loss

    def _reason(self) -> str:
        text = f"no renewal was confirmed within {_VALID_SHARE * self.ttl:g} s"
        return f"{text}: {str(self._failure) or 'no answer'}" if self._failure is not None else text

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None and self._renewal is not asyncio.current_task():
            self._renewal.cancel()

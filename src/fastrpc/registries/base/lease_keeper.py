"""Keep endpoints registered: write them, renew them, and write them again once the registry is back."""

import asyncio
import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, cast

from fastrpc.config.delays import Delays
from fastrpc.endpoint import Endpoint
from fastrpc.errors import StoreError
from fastrpc.registries.base.backend import Lease, RetiringLease
from fastrpc.registries.base.poller import BACKOFF
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["LeaseKeeper", "Registration"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds that leaving a registration waits for the registry; after that the lease expires by itself.
LEAVE_SECONDS = 5.0


class Registration:
    """One endpoint in the list of one service, for as long as the block under `with` or `async with` lasts.

    Entering waits for the first attempt. It succeeds even if the registry is unreachable: the endpoint is registered
    once the registry is back, and after each later outage.

    Raises:
        StoreError: on entering, the registry refuses the record or the writer.
    """

    def __init__(self, service: str, endpoint: Endpoint, lease: Lease, keeper: "LeaseKeeper") -> None:
        self.service, self.endpoint = service, endpoint
        #: Whether the registry held the record at the last attempt.
        self.is_registered = False
        #: The error of the last attempt; None if it succeeded.
        self.error: Exception | None = None
        self._lease, self._lease_keeper = lease, keeper
        # Set by the keeper's thread: the result of the first attempt, and that it is over.
        self._entered: Future[None] = Future()
        self._left: Future[None] = Future()
        # The outcome of marking the record as that of a server that leaves; None: that is not asked for.
        self._retired: Future[bool] | None = None
        self._is_leaving = False
        self._due = float("-inf")

    def __enter__(self) -> Self:
        self._lease_keeper.add(self)
        try:
            self._entered.result()
        except BaseException:
            self._lease_keeper.remove(self)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lease_keeper.remove(self)
        try:
            self._left.result(LEAVE_SECONDS)
        except TimeoutError:
            self._note_slow()

    async def __aenter__(self) -> Self:
        self._lease_keeper.add(self)
        try:
            await asyncio.shield(asyncio.wrap_future(self._entered))
        except BaseException:
            self._lease_keeper.remove(self)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lease_keeper.remove(self)
        try:
            async with time_limit(LEAVE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(self._left))
        except TimeoutError:
            self._note_slow()

    async def retire(self) -> bool:
        """Mark the record as that of a server that leaves, which it stays until this block ends.

        Returns:
            Whether the registry has the mark; False also if it knows none.
        """
        retired = self._lease_keeper.retire(self)
        try:
            async with time_limit(LEAVE_SECONDS):
                return await asyncio.shield(asyncio.wrap_future(retired))
        except TimeoutError:
            return False

    def _note_slow(self) -> None:
        logger.warning("%s: the registry took too long to remove %s", self.service, self.endpoint)

    def __repr__(self) -> str:
        return f"<Registration of {self.service} at {self.endpoint}>"


class LeaseKeeper:
    """Maintains all registrations of one registry, in one thread.

    Args:
        clock: gives an instant in seconds that never goes back.
        uniform: gives a random number between two.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self._changed = threading.Condition()
        self._registrations: list[Registration] = []
        self._delays = Delays(BACKOFF, uniform)
        # While the registry is unreachable, no registration is attempted before this instant.
        self._away_until = float("-inf")
        self._failing_since: float | None = None
        # Whether the last removal failed and no attempt has succeeded since.
        self._has_leave_failed = False
        self._is_closed = False
        #: Whether the registry answered the last attempt; None before the first.
        self.is_up: bool | None = None

    def add(self, registration: Registration) -> None:
        """Register an endpoint and keep it registered."""
        with self._changed:
            if self._is_closed:
                raise RuntimeError("this registry is closed")
            if registration in self._registrations or registration._is_leaving:
                raise RuntimeError(f"{registration!r} cannot be entered twice")
            self._registrations.append(registration)
            self._changed.notify_all()

    def remove(self, registration: Registration) -> None:
        """Schedule the removal of an endpoint."""
        with self._changed:
            registration._is_leaving = True
            registration._due = float("-inf")
            self._changed.notify_all()

    def retire(self, registration: Registration) -> Future[bool]:
        """Schedule the mark of an endpoint whose server leaves; return its outcome."""
        with self._changed:
            if registration._retired is None:
                registration._retired = Future()
                if isinstance(registration._lease, RetiringLease) and registration in self._registrations:
                    registration._due = float("-inf")
                    self._changed.notify_all()
                else:
                    registration._retired.set_result(False)
            return registration._retired

    def close(self) -> None:
        """Remove every endpoint, then end the thread."""
        with self._changed:
            self._is_closed = True
            for registration in self._registrations:
                self.remove(registration)
            self._changed.notify_all()

    def run(self) -> None:
        """Run until closed; the body of the keeper's thread."""
        while True:
            pause = self.step()
            with self._changed:
                if self._is_closed and not self._registrations:
                    return
                if not any(one._due == float("-inf") for one in self._registrations):
                    self._changed.wait(pause)

    def step(self) -> float | None:
        """Do the due work; return the seconds until the next, None without any."""
        with self._changed:
            registrations = list(self._registrations)
        for registration in registrations:
            if registration._is_leaving:
                self._leave(registration)
            elif registration._retired is not None and not registration._retired.done():
                self._retire(registration, registration._retired)
            elif self._clock() >= max(registration._due, self._away_until):
                self._attempt(registration)
            elif registration._due == float("-inf"):
                # It has to wait for the next attempt, and entering must not.
                self._note_failure(registration, StoreError("the registry is unreachable"))
        with self._changed:
            dues = [one._due for one in self._registrations]
            if not dues:
                return None
            return max(0.0, min(dues) - self._clock(), min(self._away_until - self._clock(), BACKOFF.longest))

    def _attempt(self, registration: Registration) -> None:
        try:
            if not (registration.is_registered and registration._lease.renew()):
                if registration.is_registered:
                    logger.info("%s: %s is registered anew", registration.service, registration.endpoint)
                registration.is_registered = False
                registration._lease.acquire()
        except Exception as error:
            if _is_away(error):
                self._away_until = self._clock() + self._delays.take()
            self._note_failure(registration, error)
            return
        self._note_success(registration)

    def _note_success(self, registration: Registration) -> None:
        now = self._clock()
        self.is_up = True
        self._delays.reset()
        self._away_until = float("-inf")
        self._has_leave_failed = False
        if self._failing_since is not None:
            logger.info("the registry accepts registrations again after %.1f s", now - self._failing_since)
            self._failing_since = None
        if registration.error is not None:
            logger.info("%s: %s is registered", registration.service, registration.endpoint)
        registration.is_registered, registration.error = True, None
        self._schedule(registration, now + registration._lease.renew_seconds * self._uniform(0.8, 1.0))
        if not registration._entered.done():
            registration._entered.set_result(None)

    def _note_failure(self, registration: Registration, error: Exception) -> None:
        is_away = _is_away(error)
        self.is_up = not is_away
        is_known = self._failing_since is not None if is_away else registration.error is not None
        if is_away and self._failing_since is None:
            self._failing_since = self._clock()
        if not is_known:
            # Any error but StoreError is a defect of the backend: log its traceback, and keep the thread running.
            trace = None if isinstance(error, StoreError) else error
            text = "%s: %s cannot be registered now: %s"
            logger.warning(text, registration.service, registration.endpoint, error, exc_info=trace)
        # The state of the registry is unknown; writing the record again is harmless.
        registration.is_registered, registration.error = False, error
        pause = self._away_until - self._clock() if is_away else BACKOFF.longest
        self._schedule(registration, self._clock() + max(0.0, pause))
        if not registration._entered.done():
            if is_away:
                registration._entered.set_result(None)
            else:
                registration._entered.set_exception(error)

    def _schedule(self, registration: Registration, due: float) -> None:
        with self._changed:
            if not registration._is_leaving:
                registration._due = due

    def _retire(self, registration: Registration, outcome: Future[bool]) -> None:
        """Mark a record in the registry, unless it is unreachable: then the lease ends soon enough."""
        is_marked = False
        try:
            if registration.is_registered and self._clock() >= self._away_until:
                is_marked = cast(RetiringLease, registration._lease).retire()
        except Exception as error:
            self._note_failed_leave(registration, "marked as leaving", error)
        self._schedule(registration, self._clock() + registration._lease.renew_seconds)
        outcome.set_result(is_marked)

    def _leave(self, registration: Registration) -> None:
        # An attempt that failed in transit may have arrived; a refused one wrote nothing.
        may_be_there = registration.is_registered or _is_away(registration.error)
        try:
            # The registry may be back before the next attempt is due. If not, the lease expires by itself: only one
            # of the leaving registrations tries, the others do not wait for it.
            if may_be_there and (self._clock() >= self._away_until or not self._has_leave_failed):
                registration._lease.release()
                self._has_leave_failed = False
        except Exception as error:
            self._note_failed_leave(registration, "removed", error)
        registration.is_registered = False
        with self._changed:
            self._registrations.remove(registration)
        for future in (registration._entered, registration._left):
            if not future.done():
                future.set_result(None)
        if registration._retired is not None and not registration._retired.done():
            registration._retired.set_result(False)

    def _note_failed_leave(self, registration: Registration, what: str, error: Exception) -> None:
        self._has_leave_failed = True
        self._away_until = self._clock() + self._delays.take()
        text = "%s: %s could not be %s, its lease expires by itself: %s"
        trace = None if isinstance(error, StoreError) else error
        logger.warning(text, registration.service, registration.endpoint, what, error, exc_info=trace)


def _is_away(error: Exception | None) -> bool:
    """Return whether the registry was unreachable, not refusing."""
    return isinstance(error, StoreError) and error.status is Status.UNAVAILABLE

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
from fastrpc.errors import ConfigError, StoreError
from fastrpc.registries.base.backend import ChangingLease, Lease, RetiringLease
from fastrpc.registries.base.poller import BACKOFF
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["LeaseKeeper", "RecordChange", "Registration"]

logger = logging.getLogger("fastrpc.registry")

#: Seconds that leaving a registration waits for the registry; after that the lease expires by itself.
LEAVE_SECONDS = 5.0


class Registration:
    """One endpoint in the list of one service, for as long as the block under `with` or `async with` lasts.

    Entering waits for the first attempt. It succeeds even if the registry is unreachable: the endpoint is registered
    once the registry is back, and after each later outage.

    Args:
        open_lease: returns the lease of another endpoint of the service, without I/O.

    Raises:
        StoreError: on entering, the registry refuses the record or the writer.
    """

    def __init__(
        self, service: str, endpoint: Endpoint, open_lease: Callable[[Endpoint], Lease], keeper: "LeaseKeeper"
    ) -> None:
        self.service, self.endpoint = service, endpoint
        #: Whether the registry held the record at the last attempt.
        self.is_registered = False
        #: The error of the last attempt; None if it succeeded.
        self.error: Exception | None = None
        self._open_lease, self._lease_keeper = open_lease, keeper
        self._lease = open_lease(endpoint)
        # Set by the keeper's thread: the result of the first attempt, and that it is over.
        self._entered: Future[None] = Future()
        self._left: Future[None] = Future()
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

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same address, whose record replaces the present one without a gap.

        Return once the registry has the record, or is known to be unreachable: then the record is written once the
        registry is back. The mark of a server that leaves stays.

        Raises:
            ConfigError: the endpoint has another address, or this registry cannot hold it.
            StoreError: the registry refuses it. After either error the record is the one before.
            RuntimeError: the block has not begun, or has ended.
        """
        if endpoint.address != self.endpoint.address:
            raise ConfigError(
                f"{self.endpoint} cannot be changed into {endpoint}",
                hint="register an endpoint of another address by a registration for it",
            )
        changed = self._lease_keeper.change(self, endpoint, self._open_lease(endpoint))
        await asyncio.shield(asyncio.wrap_future(changed))

    def exchange(self, change: "RecordChange") -> None:
        """Exchange record and endpoint with a change, without I/O; for the thread that keeps the record."""
        self.endpoint, change.endpoint = change.endpoint, self.endpoint
        if isinstance(self._lease, ChangingLease) and isinstance(change.lease, ChangingLease):
            self._lease.record, change.lease.record = change.lease.record, self._lease.record
        else:
            self._lease, change.lease = change.lease, self._lease

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


class RecordChange:
    """Another record of a registration: its endpoint, and the lease that was made for it.

    A change that is made has the record before.
    """

    def __init__(self, endpoint: Endpoint, lease: Lease) -> None:
        self.endpoint, self.lease = endpoint, lease
        #: Done once the registry has the record, refuses it, or is known to be unreachable.
        self.done: Future[None] = Future()


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
        # The changes that are not made yet; the outcomes of marking records of servers that leave, once asked for.
        self._changes: dict[Registration, RecordChange] = {}
        self._marks: dict[Registration, Future[bool]] = {}
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

    def change(self, registration: Registration, endpoint: Endpoint, lease: Lease) -> Future[None]:
        """Schedule another record of the same address; return a future that is done when `Registration.change` is.

        Args:
            lease: the lease of the endpoint, which was not used yet.

        Raises:
            RuntimeError: the registration is not entered.
        """
        change = RecordChange(endpoint, lease)
        with self._changed:
            if registration not in self._registrations:
                raise RuntimeError(f"{registration!r} is not entered")
            if registration._is_leaving or registration in self._marks:
                change.done.set_result(None)
                return change.done
            before = self._changes.pop(registration, None)
            self._changes[registration] = change
            registration._due = float("-inf")
            self._changed.notify_all()
        if before is not None:
            before.done.set_result(None)
        return change.done

    def retire(self, registration: Registration) -> Future[bool]:
        """Schedule the mark of an endpoint whose server leaves; return its outcome."""
        with self._changed:
            mark = self._marks.get(registration)
            if mark is None:
                mark = Future()
                if registration not in self._registrations:
                    mark.set_result(False)
                    return mark
                self._marks[registration] = mark
                if isinstance(registration._lease, RetiringLease):
                    registration._due = float("-inf")
                    self._changed.notify_all()
                else:
                    mark.set_result(False)
            return mark

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
            mark = self._marks.get(registration)
            if registration._is_leaving:
                self._leave(registration)
            elif mark is not None and not mark.done():
                self._retire(registration, mark)
            elif self._clock() >= max(registration._due, self._away_until):
                self._attempt(registration)
            elif registration._due == float("-inf"):
                # It has to wait for the next attempt, and its caller must not.
                error = StoreError("the registry is unreachable")
                self._note_failure(registration, error, self._exchanged(registration))
        with self._changed:
            dues = [one._due for one in self._registrations]
            if not dues:
                return None
            return max(0.0, min(dues) - self._clock(), min(self._away_until - self._clock(), BACKOFF.longest))

    def _exchanged(self, registration: Registration) -> RecordChange | None:
        """Give a registration the record that it is to have; return the change that is made thereby."""
        with self._changed:
            change = self._changes.pop(registration, None)
        if change is not None:
            registration.exchange(change)
        return change

    def _attempt(self, registration: Registration) -> None:
        change = self._exchanged(registration)
        try:
            if not (registration.is_registered and _is_held(registration._lease, change)):
                if registration.is_registered and change is None:
                    logger.info("%s: %s is registered anew", registration.service, registration.endpoint)
                registration.is_registered = False
                registration._lease.acquire()
        except Exception as error:
            if _is_away(error):
                self._away_until = self._clock() + self._delays.take()
            elif change is not None:
                self._refuse(registration, change, error)
                return
            self._note_failure(registration, error, change)
            return
        self._note_success(registration, change)

    def _refuse(self, registration: Registration, change: RecordChange, error: Exception) -> None:
        """Keep the record before a change that the registry refuses."""
        registration.exchange(change)
        change.done.set_exception(error)
        # That record may be gone, and its renewal was due.
        self._attempt(registration)

    def _note_success(self, registration: Registration, change: RecordChange | None) -> None:
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
        if change is not None:
            logger.info("%s: the record of %s has changed", registration.service, registration.endpoint)
            change.done.set_result(None)

    def _note_failure(
        self, registration: Registration, error: Exception, change: RecordChange | None
    ) -> None:
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
        if change is not None:
            change.done.set_result(None)

    def _schedule(self, registration: Registration, due: float) -> None:
        with self._changed:
            # A change that came meanwhile is due at once.
            if not registration._is_leaving and registration not in self._changes:
                registration._due = due

    def _retire(self, registration: Registration, outcome: Future[bool]) -> None:
        """Mark a record in the registry, unless it is unreachable: then the lease ends soon enough."""
        is_marked = False
        change = self._exchanged(registration)
        try:
            if registration.is_registered and self._clock() >= self._away_until:
                is_marked = cast(RetiringLease, registration._lease).retire()
        except Exception as error:
            self._note_failed_leave(registration, "marked as leaving", error)
        self._schedule(registration, self._clock() + registration._lease.renew_seconds)
        outcome.set_result(is_marked)
        if change is not None:
            change.done.set_result(None)

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
            change, mark = self._changes.pop(registration, None), self._marks.pop(registration, None)
        for future in (registration._entered, registration._left):
            if not future.done():
                future.set_result(None)
        if change is not None:
            change.done.set_result(None)
        if mark is not None and not mark.done():
            mark.set_result(False)

    def _note_failed_leave(self, registration: Registration, what: str, error: Exception) -> None:
        self._has_leave_failed = True
        self._away_until = self._clock() + self._delays.take()
        text = "%s: %s could not be %s, its lease expires by itself: %s"
        trace = None if isinstance(error, StoreError) else error
        logger.warning(text, registration.service, registration.endpoint, what, error, exc_info=trace)


def _is_held(lease: Lease, change: RecordChange | None) -> bool:
    """Write the record of a change over the one before, or renew it; return whether the registry has not lost it."""
    if change is None:
        return lease.renew()
    return isinstance(lease, ChangingLease) and lease.rewrite()


def _is_away(error: Exception | None) -> bool:
    """Return whether the registry was unreachable, not refusing."""
    return isinstance(error, StoreError) and error.status is Status.UNAVAILABLE

"""Keep endpoints registered: write and renew them, and write them again after an outage of the registry."""

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
from fastrpc.registries.base.kept_record import KeptRecord, RecordChange
from fastrpc.registries.base.poller import BACKOFF
from fastrpc.status import Status
from fastrpc.time_limit import time_limit

__all__ = ["LeaseKeeper", "Registration"]

logger = logging.getLogger("fastrpc.registry")

#: The most seconds that the end of a registration waits for the registry. After that the lease expires by itself.
LEAVE_SECONDS = 5.0


class Registration:
    """One endpoint in the list of one service while the block of `with` or `async with` lasts.

    Entering waits for the first attempt, but succeeds even if the registry is unreachable: the endpoint is registered
    when the registry is back, and also after each later outage.

    Args:
        open_lease: returns a lease for another endpoint of the service, without I/O.

    Raises:
        StoreError: on entering: the registry refuses the record or the writer.
    """

    def __init__(
        self, service: str, endpoint: Endpoint, open_lease: Callable[[Endpoint], Lease], keeper: "LeaseKeeper"
    ) -> None:
        self._open_lease, self._lease_keeper = open_lease, keeper
        self._record = KeptRecord(service, endpoint, open_lease(endpoint))

    @property
    def service(self) -> str:
        """The name of the service."""
        return self._record.service

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint in the record."""
        return self._record.endpoint

    @property
    def is_registered(self) -> bool:
        """Whether the registry held the record at the last attempt."""
        return self._record.is_registered

    @property
    def error(self) -> Exception | None:
        """The error of the last attempt; None if it succeeded."""
        return self._record.error

    def __enter__(self) -> Self:
        self._lease_keeper.add(self._record)
        try:
            self._record.entered.result()
        except BaseException:
            self._lease_keeper.remove(self._record)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lease_keeper.remove(self._record)
        try:
            self._record.left.result(LEAVE_SECONDS)
        except TimeoutError:
            self._note_slow()

    async def __aenter__(self) -> Self:
        self._lease_keeper.add(self._record)
        try:
            await asyncio.shield(asyncio.wrap_future(self._record.entered))
        except BaseException:
            self._lease_keeper.remove(self._record)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lease_keeper.remove(self._record)
        try:
            async with time_limit(LEAVE_SECONDS):
                await asyncio.shield(asyncio.wrap_future(self._record.left))
        except TimeoutError:
            self._note_slow()

    async def change(self, endpoint: Endpoint) -> None:
        """Register another endpoint of the same address; its record replaces the present record without a gap.

        Returns when the registry has the record, or is known to be unreachable: then the record is written when the
        registry is back. If the record is marked as leaving, the mark stays and the change is ignored.

        Raises:
            ConfigError: the endpoint has another address, or this registry cannot hold the endpoint.
            StoreError: the registry refuses the record. After either error the previous record stays.
            RuntimeError: the block has not begun, or has ended.
        """
        if endpoint.address != self.endpoint.address:
            raise ConfigError(
                f"{self.endpoint} cannot be changed into {endpoint}",
                hint="register an endpoint of another address by a registration for it",
            )
        changed = self._lease_keeper.change(self._record, endpoint, self._open_lease(endpoint))
        await asyncio.shield(asyncio.wrap_future(changed))

    async def retire(self) -> bool:
        """Mark the record as leaving, until this block ends.

        Returns:
            True if the registry has stored the mark; False also if this kind of registry has no marks.
        """
        retired = self._lease_keeper.retire(self._record)
        try:
            async with time_limit(LEAVE_SECONDS):
                return await asyncio.shield(asyncio.wrap_future(retired))
        except TimeoutError:
            return False

    def _note_slow(self) -> None:
        logger.warning("%s: the registry took too long to remove %s", self.service, self.endpoint)

    def __repr__(self) -> str:
        return repr(self._record)


class LeaseKeeper:
    """Maintains all registrations of one registry, in one thread.

    Args:
        clock: returns monotonic time in seconds.
        uniform: returns a random number between two numbers.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._clock, self._uniform = clock, uniform
        self._changed = threading.Condition()
        self._records: list[KeptRecord] = []
        self._delays = Delays(BACKOFF, uniform)
        # While the registry is unreachable, no registration is attempted before this time.
        self._away_until = float("-inf")
        self._failing_since: float | None = None
        # True if a removal failed and no attempt has succeeded since.
        self._has_leave_failed = False
        self._is_closed = False
        # Changes that are not yet written.
        self._changes: dict[KeptRecord, RecordChange] = {}
        # Requested "leaving" marks that are not yet written, with the futures of their outcomes.
        self._marks: dict[KeptRecord, Future[bool]] = {}
        #: Whether the registry answered the last attempt; None before the first.
        self.is_up: bool | None = None

    def add(self, record: KeptRecord) -> None:
        """Register an endpoint and keep it registered."""
        with self._changed:
            if self._is_closed:
                raise RuntimeError("this registry is closed")
            if record in self._records or record.is_leaving:
                raise RuntimeError(f"{record!r} cannot be entered twice")
            self._records.append(record)
            self._changed.notify_all()

    def remove(self, record: KeptRecord) -> None:
        """Schedule the removal of an endpoint."""
        with self._changed:
            record.is_leaving = True
            record.hurry()
            self._changed.notify_all()

    def change(self, record: KeptRecord, endpoint: Endpoint, lease: Lease) -> Future[None]:
        """Schedule a new record for the same address; return a future that completes as `Registration.change` does.

        Args:
            lease: a new lease for the endpoint.

        Raises:
            RuntimeError: the registration is not entered.
        """
        change = RecordChange(endpoint, lease)
        with self._changed:
            if record not in self._records:
                raise RuntimeError(f"{record!r} is not entered")
            if record.is_leaving or record in self._marks:
                change.done.set_result(None)
                return change.done
            before = self._changes.pop(record, None)
            self._changes[record] = change
            record.hurry()
            self._changed.notify_all()
        if before is not None:
            before.done.set_result(None)
        return change.done

    def retire(self, record: KeptRecord) -> Future[bool]:
        """Schedule a "leaving" mark for a record; return a future with True if the registry has stored the mark."""
        with self._changed:
            mark = self._marks.get(record)
            if mark is None:
                mark = Future()
                if record not in self._records:
                    mark.set_result(False)
                    return mark
                self._marks[record] = mark
                if isinstance(record.lease, RetiringLease):
                    record.hurry()
                    self._changed.notify_all()
                else:
                    mark.set_result(False)
            return mark

    def close(self) -> None:
        """Remove every endpoint, then end the thread."""
        with self._changed:
            self._is_closed = True
            for record in self._records:
                self.remove(record)
            self._changed.notify_all()

    def run(self) -> None:
        """Run until closed; the body of the keeper's thread."""
        while True:
            pause = self.step()
            with self._changed:
                if self._is_closed and not self._records:
                    return
                if not any(one.is_hurried for one in self._records):
                    self._changed.wait(pause)

    def step(self) -> float | None:
        """Do the work that is due; return the seconds until the next work, or None if there are no records."""
        with self._changed:
            records = list(self._records)
        for record in records:
            mark = self._marks.get(record)
            if record.is_leaving:
                self._leave(record)
            elif mark is not None and not mark.done():
                self._retire(record, mark)
            elif self._clock() >= max(record.due, self._away_until):
                self._attempt(record)
            elif record.is_hurried:
                # The record is written at the next attempt. The caller of `enter` or `change` must not wait for that.
                error = StoreError("the registry is unreachable")
                self._note_failure(record, error, self._exchanged(record))
        with self._changed:
            dues = [one.due for one in self._records]
            if not dues:
                return None
            return max(0.0, min(dues) - self._clock(), min(self._away_until - self._clock(), BACKOFF.longest))

    def _exchanged(self, record: KeptRecord) -> RecordChange | None:
        """Apply a scheduled change to a record, if any; return the change, which then holds the previous record."""
        with self._changed:
            change = self._changes.pop(record, None)
        if change is not None:
            record.exchange(change)
        return change

    def _attempt(self, record: KeptRecord) -> None:
        change = self._exchanged(record)
        try:
            if not (record.is_registered and _is_held(record.lease, change)):
                if record.is_registered and change is None:
                    logger.info("%s: %s is registered anew", record.service, record.endpoint)
                record.is_registered = False
                record.lease.acquire()
        except Exception as error:
            if _is_away(error):
                self._away_until = self._clock() + self._delays.take()
            elif change is not None:
                self._refuse(record, change, error)
                return
            self._note_failure(record, error, change)
            return
        self._note_success(record, change)

    def _refuse(self, record: KeptRecord, change: RecordChange, error: Exception) -> None:
        """Keep the previous record after the registry has refused a change."""
        record.exchange(change)
        change.done.set_exception(error)
        # Renew the previous record now: the refused change took the place of a renewal, or the registry lost the
        # record.
        self._attempt(record)

    def _note_success(self, record: KeptRecord, change: RecordChange | None) -> None:
        now = self._clock()
        self.is_up = True
        self._delays.reset()
        self._away_until = float("-inf")
        self._has_leave_failed = False
        if self._failing_since is not None:
            logger.info("the registry accepts registrations again after %.1f s", now - self._failing_since)
            self._failing_since = None
        if record.error is not None:
            logger.info("%s: %s is registered", record.service, record.endpoint)
        record.is_registered, record.error = True, None
        self._schedule(record, now + record.lease.renew_seconds * self._uniform(0.8, 1.0))
        if not record.entered.done():
            record.entered.set_result(None)
        if change is not None:
            logger.info("%s: the record of %s has changed", record.service, record.endpoint)
            change.done.set_result(None)

    def _note_failure(self, record: KeptRecord, error: Exception, change: RecordChange | None) -> None:
        is_away = _is_away(error)
        self.is_up = not is_away
        is_known = self._failing_since is not None if is_away else record.error is not None
        if is_away and self._failing_since is None:
            self._failing_since = self._clock()
        if not is_known:
            # An error other than StoreError is a defect of the backend. Log its traceback, because the thread must
            # continue.
            trace = None if isinstance(error, StoreError) else error
            text = "%s: %s cannot be registered now: %s"
            logger.warning(text, record.service, record.endpoint, error, exc_info=trace)
        # The state of the registry is unknown, but writing the record again does no harm.
        record.is_registered, record.error = False, error
        pause = self._away_until - self._clock() if is_away else BACKOFF.longest
        self._schedule(record, self._clock() + max(0.0, pause))
        if not record.entered.done():
            if is_away:
                record.entered.set_result(None)
            else:
                record.entered.set_exception(error)
        if change is not None:
            change.done.set_result(None)

    def _schedule(self, record: KeptRecord, due: float) -> None:
        with self._changed:
            # A change that arrived in the meantime is due immediately.
            if not record.is_leaving and record not in self._changes:
                record.due = due

    def _retire(self, record: KeptRecord, outcome: Future[bool]) -> None:
        """Mark a record in the registry. Do not retry: if the registry is unreachable, the lease expires soon."""
        is_marked = False
        change = self._exchanged(record)
        try:
            if record.is_registered and self._clock() >= self._away_until:
                is_marked = cast(RetiringLease, record.lease).retire()
        except Exception as error:
            self._note_failed_leave(record, "marked as leaving", error)
        self._schedule(record, self._clock() + record.lease.renew_seconds)
        outcome.set_result(is_marked)
        if change is not None:
            change.done.set_result(None)

    def _leave(self, record: KeptRecord) -> None:
        # If the answer to an attempt was lost, the attempt may have been applied. A refused attempt wrote nothing.
        may_be_there = record.is_registered or _is_away(record.error)
        try:
            # Try even before the next attempt is due: the registry may be back. After one failed removal leave the
            # other records to the expiry of their leases: each attempt might wait for another timeout.
            if may_be_there and (self._clock() >= self._away_until or not self._has_leave_failed):
                record.lease.release()
                self._has_leave_failed = False
        except Exception as error:
            self._note_failed_leave(record, "removed", error)
        record.is_registered = False
        with self._changed:
            self._records.remove(record)
            change, mark = self._changes.pop(record, None), self._marks.pop(record, None)
        for future in (record.entered, record.left):
            if not future.done():
                future.set_result(None)
        if change is not None:
            change.done.set_result(None)
        if mark is not None and not mark.done():
            mark.set_result(False)

    def _note_failed_leave(self, record: KeptRecord, what: str, error: Exception) -> None:
        self._has_leave_failed = True
        self._away_until = self._clock() + self._delays.take()
        text = "%s: %s could not be %s, its lease expires by itself: %s"
        trace = None if isinstance(error, StoreError) else error
        logger.warning(text, record.service, record.endpoint, what, error, exc_info=trace)


def _is_held(lease: Lease, change: RecordChange | None) -> bool:
    """Renew a record, or replace it by a changed record; return whether the registry still had the record."""
    if change is None:
        return lease.renew()
    return isinstance(lease, ChangingLease) and lease.rewrite()


def _is_away(error: Exception | None) -> bool:
    """Return whether an error means that the registry was unreachable, not that it refused."""
    return isinstance(error, StoreError) and error.status is Status.UNAVAILABLE

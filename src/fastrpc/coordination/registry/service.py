"""The embedded registry as a service: leases, records and watches.

`watch` is a unary call that returns when the list differs from the caller's list, or after its wait, so that languages
without streams can use the registry. `follow` does the same as a stream, with one message per answer. `follow_many`
reports many services in one stream.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from fastrpc.coordination.registry.background import RegistryTasks, TaskFailures
from fastrpc.coordination.registry.registration import check_lease_seconds, check_registration
from fastrpc.coordination.registry.saving import SavedRecords
from fastrpc.coordination.registry.service_lists import ServiceList, ServiceLists
from fastrpc.coordination.registry.watching import ServiceWatchers
from fastrpc.coordination.rights import READ, REGISTER
from fastrpc.errors import CallError, ConfigError, StoreError
from fastrpc.hosted.rights import Grant, ServiceRights
from fastrpc.patterns import MethodPattern
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.server.wakeup import ended_by_drain
from fastrpc.status import Status
from fastrpc.stores.base import Folder
from fastrpc.stores.expiring import keep_expiring
from fastrpc.stores.memory import MOST_BYTES, MemoryStore

__all__ = ["LONGEST_WAIT_SECONDS", "RegistryService"]

#: Longest wait of a watch for a change, in seconds.
LONGEST_WAIT_SECONDS = 60.0

#: Shortest wait of `follow` between two messages, in seconds.
SHORTEST_WAIT_SECONDS = 0.1

#: Most bytes of records in a message of `follow`. A watcher that does not read occupies its window and one message.
FOLLOWED_BYTES = 16 * 1024

#: Most services of one `follow_many`.
MOST_FOLLOWED = 10_000

#: Seconds until the next attempt after expired leases could not be removed.
RETRY_SECONDS = 0.5


@service("fastrpc.registry", version="1")
class RegistryService:
    """A registry for clients with `registry://host:port`.

    Args:
        data_dir: a folder that keeps the registrations across restarts; None keeps them in memory only.
        records_bytes: the most bytes of all records, services and addresses together; more are refused.
        rights: the rights of callers to register and to read; None: every caller has both.

    Raises:
        ConfigError: `records_bytes` is not a positive whole number.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        records_bytes: int = MOST_BYTES,
        rights: ServiceRights | None = None,
    ) -> None:
        if not isinstance(records_bytes, int) or isinstance(records_bytes, bool) or records_bytes < 1:
            raise ConfigError(f"records_bytes is {records_bytes!r}, it must be a whole number from 1")
        self._watchers = ServiceWatchers()
        self._store = MemoryStore(most_bytes=records_bytes, on_change=self._watchers.wake)
        self._rights = rights
        self._lists = ServiceLists(records_bytes)
        self._saved = None if data_dir is None else SavedRecords(self._store, data_dir)
        self._tasks = RegistryTasks()
        self._due_changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        if self._saved is not None:
            await self._saved.open()
            self._tasks.start(self._saved.keep_saved())
        self._tasks.start(self._keep_expiring())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._tasks.stop()
        if self._saved is not None:
            await self._saved.close()

    @method(idempotent=True)
    async def register(self, service: str, record: str, lease_seconds: float) -> str:
        """Add an endpoint to the list of a service, or replace an endpoint with the same address; return the lease."""
        self._check(REGISTER, service)
        try:
            key = check_registration(service, record)
            check_lease_seconds(lease_seconds)
        except ValueError as error:
            raise CallError(Status.INVALID_ARGUMENT, str(error)) from None
        lease = ""
        try:
            lease = await self._store.lease(lease_seconds)
            await self._store.put(service, key, record.encode(), lease=lease)
        except StoreError as error:
            await self._store.revoke(lease)
            raise CallError(error.status, error.message) from None
        self._due_changed.set()
        return lease

    @method(idempotent=True)
    async def renew(self, lease: str) -> bool:
        """Renew a registration; return False if it no longer exists and must be registered again."""
        # If the lease has lost its record to another server at the same address, report False only once that server has
        # removed the record. Otherwise the two servers would replace each other forever.
        self._check(REGISTER, *self._store.written_under(lease))
        return await self._store.renew(lease) and self._store.is_whole(lease)

    @method(idempotent=True)
    async def change(self, lease: str, record: str) -> bool:
        """Replace the record of a lease by another record of the same address, and renew the lease.

        Return False if the record no longer exists and must be registered again. If another server has taken over the
        record, it stays unchanged.
        """
        folders = self._store.written_under(lease)
        self._check(REGISTER, *folders)
        for folder in folders:
            await self._change(folder, lease, record)
        return await self._store.renew(lease) and self._store.is_whole(lease)

    @method(idempotent=True)
    async def deregister(self, lease: str) -> bool:
        """Remove an endpoint; return False if it did not exist any more."""
        self._check(REGISTER, *self._store.written_under(lease))
        return await self._store.revoke(lease)

    @method(idempotent=True)
    async def remove(self, service: str, address: str) -> bool:
        """Delete the record of an address, whatever its lease; return False if it did not exist."""
        self._check(REGISTER, service)
        return await self._store.delete(service, address)

    @method(idempotent=True, timeout=LONGEST_WAIT_SECONDS + 10)
    async def watch(
        self, service: str, after: str = "", wait_seconds: float = 0.0, page_bytes: int = 0
    ) -> ServiceList:
        """Return the list of a service, immediately if its cursor differs from `after`.

        Otherwise wait for a change, at most `wait_seconds`, and return the list after it. With `page_bytes` the answer
        has only the first records, up to about this many bytes; `page` returns the others.
        """
        self._check(READ, service)
        found = await self._store.list(service)
        wait = min(wait_seconds, LONGEST_WAIT_SECONDS)
        if wait > 0 and self._lists.cursor(found) == after:
            found = await self._changed(service, wait)
            self._check(READ, service)
        if page_bytes > 0:
            return self._lists.page(service, found, 0, page_bytes)
        return self._lists.whole(service, found)

    @method(idempotent=True)
    async def follow(
        self, service: str, after: str = "", wait_seconds: float = 15.0, page_bytes: int = FOLLOWED_BYTES
    ) -> AsyncIterator[ServiceList]:
        """Yield the list of a service once its cursor differs from `after`, then after each change.

        After `wait_seconds` without a change, a message with the last cursor and no records shows that the registry is
        alive. A message has only the first records, at most some 16 KiB; `page` returns the others. A slow reader gets
        only the latest list. The stream ends with UNAVAILABLE when its connection drains.
        """
        _check_wait(wait_seconds)
        size = min(max(page_bytes, 1), FOLLOWED_BYTES)
        with self._watchers.watching(service) as wakeup:
            while True:
                # Check the right for each message, since it may end before the stream does.
                self._check(READ, service)
                found = await self._store.list(service)
                cursor = self._lists.cursor(found)
                if cursor != after:
                    after = cursor
                    yield self._lists.first_page(service, found, size)
                elif wakeup.is_draining:
                    raise ended_by_drain()
                elif not await wakeup.wait(wait_seconds):
                    yield ServiceList(cursor, [])

    @method(idempotent=True)
    async def follow_many(
        self, services: dict[str, str], wait_seconds: float = 15.0
    ) -> AsyncIterator[dict[str, ServiceList]]:
        """Yield the lists of services whose cursors differ from the cursors in `after`, then each list that changes.

        Like `follow` for many services: a message has the first pages of some lists, or no list after `wait_seconds`
        without a change. The caller needs the right to read all of them.
        """
        _check_wait(wait_seconds)
        if len(services) > MOST_FOLLOWED:
            raise CallError(
                Status.INVALID_ARGUMENT,
                f"{len(services)} services are given, at most {MOST_FOLLOWED} are followed",
            )
        after = dict(services)
        with self._watchers.watching_many(after) as (wakeup, changed):
            while True:
                # Check the rights for each message, since they may end before the stream does.
                self._check(READ, *after)
                message = await self._next_lists(after, changed)
                if message:
                    yield message
                elif wakeup.is_draining:
                    raise ended_by_drain()
                elif not await wakeup.wait(wait_seconds):
                    yield {}

    @method(idempotent=True)
    async def page(self, service: str, cursor: str, start: int, page_bytes: int) -> ServiceList:
        """Return further records of the list with this cursor, from a position on.

        ABORTED means that the list has changed and its old version is no longer kept: call `watch` again.
        """
        self._check(READ, service)
        found = await self._store.list(service)
        if self._lists.cursor(found) != cursor:
            kept = self._lists.outdated(service, cursor)
            if kept is None:
                raise CallError(Status.ABORTED, f"the list of {service} has changed; call watch again")
            found = kept
        if not 0 < start < len(found.items):
            raise CallError(
                Status.INVALID_ARGUMENT, f"start is {start}, this list has {len(found.items)} records"
            )
        return self._lists.page(service, found, start, page_bytes)

    @method(idempotent=True)
    async def services(self, after: str = "", limit: int = 0) -> dict[str, int]:
        """Return the number of endpoints of each service that the caller may read.

        With a limit, return the first `limit` services whose names sort after `after`.
        """
        counts = self._store.folders()
        if self._rights is not None:
            counts = {name: counts[name] for name in self._rights.granted(READ, counts)}
        if limit <= 0:
            return counts
        behind = (item for item in counts.items() if item[0] > after)
        return dict(itertools.islice(behind, limit))

    async def _change(self, service: str, lease: str, record: str) -> None:
        """Replace the record of a lease, unless another lease has taken over the item."""
        try:
            key = check_registration(service, record)
            if not self._store.has_written(lease, service, key):
                raise ValueError(f"the lease has no record of {key}")
            held = await self._store.get(service, key)
            if held is not None and held.lease == lease:
                await self._store.put(service, key, record.encode(), lease=lease)
        except ValueError as error:
            raise CallError(Status.INVALID_ARGUMENT, str(error)) from None
        except StoreError as error:
            # NOT_FOUND means that the lease has ended, which the renewal reports. Other errors are for the caller.
            if error.status is not Status.NOT_FOUND:
                raise CallError(error.status, error.message) from None

    def _check(self, right: Grant[MethodPattern], *services: str) -> None:
        if self._rights is not None:
            self._rights.check(right, services)

    async def _next_lists(self, after: dict[str, str], changed: dict[str, None]) -> dict[str, ServiceList]:
        """Return the first pages of changed lists, as many as fit into a message."""
        message: dict[str, ServiceList] = {}
        left = FOLLOWED_BYTES
        while changed and left > 0:
            service = next(iter(changed))
            del changed[service]
            found = await self._store.list(service)
            cursor = self._lists.cursor(found)
            if cursor != after[service]:
                after[service] = cursor
                message[service] = self._lists.first_page(service, found, FOLLOWED_BYTES)
                left -= len(service) + sum(map(len, message[service].records))
        return message

    async def _changed(self, service: str, wait: float) -> Folder:
        """Return the list after its next change, or the unchanged list when the wait ends or the server drains."""
        with self._watchers.watching(service) as wakeup:
            await wakeup.wait(wait)
        return await self._store.list(service)

    async def _keep_expiring(self) -> None:
        failures = TaskFailures("endpoints that are gone may stay in their lists")

        def expire() -> float | None:
            left: list[float | None] = [RETRY_SECONDS]
            with failures.logged():
                left[0] = self._store.expire()
            return left[0]

        await keep_expiring(expire, self._due_changed)


def _check_wait(seconds: float) -> None:
    if not SHORTEST_WAIT_SECONDS <= seconds <= LONGEST_WAIT_SECONDS:
        raise CallError(
            Status.INVALID_ARGUMENT,
            f"wait_seconds is {seconds}, "
            f"it must be from {SHORTEST_WAIT_SECONDS:g} to {LONGEST_WAIT_SECONDS:g}",
        )

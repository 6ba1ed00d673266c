"""The embedded registry as a service: leases, records and watches.

`watch` is a plain call that returns when the list differs from the caller's, or when its wait is over, so that any
language with plain calls can use the registry. `follow` is the same as a stream: one message for each answer.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fastrpc._core.calls.call import current_call
from fastrpc.auth.policy import Right
from fastrpc.coordination.listings import Listings, page_of
from fastrpc.coordination.registration import check_lease_seconds, check_registration
from fastrpc.coordination.rights import RegistryRights
from fastrpc.coordination.snapshot import Fault, encode_snapshot, read_snapshot
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.errors import CallError, ConfigError, StoreError
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.server.wakeup import Wakeup, Watchers, ended_by_drain
from fastrpc.status import Status
from fastrpc.stores.base import Folder
from fastrpc.stores.memory import MOST_BYTES, MemoryStore

__all__ = ["LONGEST_WAIT_SECONDS", "RegistryService", "ServiceList"]

logger = logging.getLogger("fastrpc.registry")

#: Longest wait of a watch for a change, in seconds.
LONGEST_WAIT_SECONDS = 60.0

#: Shortest wait of a message of `follow`.
SHORTEST_WAIT_SECONDS = 0.1

#: Most bytes of records in a message of `follow`: a watcher that does not read holds its window and one message.
FOLLOWED_BYTES = 16 * 1024

#: Fewest seconds that leases last after a restart, so that every server can renew first.
GRACE_SECONDS = 15.0

#: Seconds between a change and its snapshot, and so between two snapshots; after a slow snapshot the pause is this
#: many times its duration.
SNAPSHOT_SECONDS = 0.5
SNAPSHOT_REST = 4.0

#: Most bytes of a list that is requested without pages: the default limit of a message.
WHOLE_LIST_BYTES = 16 * 1024 * 1024 - 1024 * 1024

#: Seconds from a failure to end leases to the next attempt.
RETRY_SECONDS = 0.5

#: Records that are restored in one iteration of the loop.
RESTORED_AT_ONCE = 500

#: Records left out of a snapshot that are logged one by one.
MOST_LOGGED = 100


@dataclass(frozen=True, slots=True)
class ServiceList:
    """The list of a service, or one page of it."""

    #: Identifies this version of the list: a watch with it waits for the next one. The part before the dot changes
    #: when the registry restarts.
    cursor: str

    #: JSON records, in the order of their addresses.
    records: list[str]

    #: The position of the next page in the list; 0 after the last record.
    following: int = 0


@service("fastrpc.registry", version="1")
class RegistryService:
    """A registry for clients with `registry://host:port`.

    Args:
        data_dir: a folder that keeps the registrations across restarts; None keeps them in memory only.
        records_bytes: most bytes of all records, services and addresses together; more are refused.
        rights: grant registering and reading; None: every caller may do both.

    Raises:
        ConfigError: `records_bytes` is not a positive whole number.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        records_bytes: int = MOST_BYTES,
        rights: RegistryRights | None = None,
    ) -> None:
        if not isinstance(records_bytes, int) or isinstance(records_bytes, bool) or records_bytes < 1:
            raise ConfigError(f"records_bytes is {records_bytes!r}, it must be a whole number from 1")
        self._store = MemoryStore(most_bytes=records_bytes, on_change=self._wake)
        self._rights = rights
        # By service, as long as it has any.
        self._watchers: dict[str, Watchers] = {}
        # The message of the latest change: all watchers of a service get the same.
        self._latest: tuple[tuple[str, int, int], ServiceList] | None = None
        self._listings = Listings(records_bytes)
        self._file = None if data_dir is None else SnapshotFile(Path(data_dir) / "registry.json")
        self._instance = secrets.token_hex(4)
        self._tasks: list[asyncio.Task[None]] = []
        self._due_changed = asyncio.Event()
        self._saved_revision = 0

    async def __aenter__(self) -> Self:
        if self._file is not None:
            self._file.claim()
            try:
                await self._restore(self._file)
            except BaseException:
                self._file.release()
                raise
            self._tasks.append(asyncio.create_task(self._keep_saved(self._file)))
        self._tasks.append(asyncio.create_task(self._keep_expiring()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for failure in outcomes:
            if failure is not None and not isinstance(failure, asyncio.CancelledError):
                logger.error("a background task of the registry ended early", exc_info=failure)
        if self._file is not None:
            try:
                await self._save(self._file)
            finally:
                self._file.release()

    @method(idempotent=True)
    async def register(self, service: str, record: str, lease_seconds: float) -> str:
        """Put an endpoint into the list of a service, replacing one with its address; return the lease."""
        self._check("register", service)
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
        """Renew a registration; False if it is gone and must be registered again."""
        # Another server at the address may have taken the record over, and then removed it. One that still holds it
        # must not be replaced, or the two would replace each other for ever.
        self._check("register", *self._store.written_under(lease))
        return await self._store.renew(lease) and self._store.is_whole(lease)

    @method(idempotent=True)
    async def deregister(self, lease: str) -> bool:
        """Remove an endpoint; False if it was already gone."""
        self._check("register", *self._store.written_under(lease))
        return await self._store.revoke(lease)

    @method(idempotent=True, timeout=LONGEST_WAIT_SECONDS + 10)
    async def watch(
        self, service: str, after: str = "", wait_seconds: float = 0.0, page_bytes: int = 0
    ) -> ServiceList:
        """Return the list of a service, at once if its cursor is not `after`.

        Otherwise wait for a change, at most `wait_seconds`, and return the list as it is then. With `page_bytes` the
        answer has only the first records, of about this many bytes; `page` returns the others.
        """
        self._check("read", service)
        found = await self._store.list(service)
        wait = min(wait_seconds, LONGEST_WAIT_SECONDS)
        if wait > 0 and self._cursor(found) == after:
            found = await self._changed(service, found, wait)
            self._check("read", service)
        if page_bytes > 0:
            return self._page(service, found, 0, page_bytes)
        if found.size > WHOLE_LIST_BYTES:
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"the list of {service} has {found.size} bytes, one answer holds {WHOLE_LIST_BYTES}; "
                "ask for pages with page_bytes",
            )
        return self._part(found, 0, len(found.items))

    @method(idempotent=True)
    async def follow(
        self, service: str, after: str = "", wait_seconds: float = 15.0, page_bytes: int = FOLLOWED_BYTES
    ) -> AsyncIterator[ServiceList]:
        """Yield the list of a service whenever its cursor is not the last one; the first time, if it is not `after`.

        After `wait_seconds` without a change a message with the last cursor and no records shows that the registry is
        alive. A message has only the first records, at most some 16 KiB; `page` returns the others. A reader that is
        behind gets the latest list only. The stream ends with UNAVAILABLE when its connection drains.
        """
        if not SHORTEST_WAIT_SECONDS <= wait_seconds <= LONGEST_WAIT_SECONDS:
            raise CallError(
                Status.INVALID_ARGUMENT,
                f"wait_seconds is {wait_seconds}, "
                f"it must be from {SHORTEST_WAIT_SECONDS:g} to {LONGEST_WAIT_SECONDS:g}",
            )
        size = min(max(page_bytes, 1), FOLLOWED_BYTES)
        with self._watching(service) as wakeup:
            while True:
                # Each time: a right may end before the stream does.
                self._check("read", service)
                found = await self._store.list(service)
                cursor = self._cursor(found)
                if cursor != after:
                    after = cursor
                    yield self._message(service, found, size)
                elif wakeup.is_draining:
                    raise ended_by_drain()
                elif not await wakeup.wait(wait_seconds):
                    yield ServiceList(cursor, [])

    @method(idempotent=True)
    async def page(self, service: str, cursor: str, start: int, page_bytes: int) -> ServiceList:
        """Return further records of the list version of a cursor, from a position on.

        ABORTED means that the list has changed and is no longer kept: begin again with `watch`.
        """
        self._check("read", service)
        found = await self._store.list(service)
        if self._cursor(found) != cursor:
            instance, _, revision = cursor.partition(".")
            kept = None
            if instance == self._instance and revision.isascii() and revision.isdecimal():
                kept = self._listings.find(service, int(revision[:20]))
            if kept is None:
                raise CallError(Status.ABORTED, f"the list of {service} has changed; begin anew")
            found = kept
        if not 0 < start < len(found.items):
            raise CallError(
                Status.INVALID_ARGUMENT, f"start is {start}, this list has {len(found.items)} records"
            )
        return self._page(service, found, start, page_bytes)

    @method(idempotent=True)
    async def services(self, after: str = "", limit: int = 0) -> dict[str, int]:
        """Return the number of endpoints of each service that the caller may read.

        With a limit, return the first `limit` services whose names sort after `after`.
        """
        counts = self._store.folders()
        if self._rights is not None:
            counts = {name: counts[name] for name in self._rights.readable(counts)}
        if limit <= 0:
            return counts
        behind = (item for item in counts.items() if item[0] > after)
        return dict(itertools.islice(behind, limit))

    def _check(self, right: Right, *services: str) -> None:
        if self._rights is not None:
            self._rights.check(right, services)

    @contextlib.contextmanager
    def _watching(self, service: str) -> Iterator[Wakeup]:
        watchers = self._watchers.setdefault(service, Watchers())
        try:
            with watchers.watching() as wakeup:
                yield wakeup
        finally:
            if not watchers and self._watchers.get(service) is watchers:
                del self._watchers[service]

    def _wake(self, service: str) -> None:
        watchers = self._watchers.get(service)
        if watchers is not None:
            watchers.wake()

    def _message(self, service: str, folder: Folder, page_bytes: int) -> ServiceList:
        """Return the first page of a list, made once for all watchers."""
        key = (service, folder.revision, page_bytes)
        if self._latest is None or self._latest[0] != key:
            end = page_of(folder, 0, page_bytes)
            self._latest = key, self._part(folder, 0, end)
        message = self._latest[1]
        if message.following:
            self._listings.keep(service, folder)
        return message

    def _page(self, service: str, folder: Folder, start: int, page_bytes: int) -> ServiceList:
        """Return one page, and keep the list for the following ones."""
        end = page_of(folder, start, page_bytes)
        if end < len(folder.items):
            self._listings.keep(service, folder)
        return self._part(folder, start, end)

    def _part(self, folder: Folder, start: int, end: int) -> ServiceList:
        records = [item.value.decode() for item in folder.items[start:end]]
        return ServiceList(self._cursor(folder), records, end if end < len(folder.items) else 0)

    def _cursor(self, folder: Folder) -> str:
        return f"{self._instance}.{folder.revision}"

    async def _changed(self, service: str, known: Folder, wait: float) -> Folder:
        """Return the list after its next change, or the same one when the wait ends or the server drains."""
        changes = self._store.watch(service, after=known.revision)
        change = asyncio.ensure_future(anext(changes))
        drain = asyncio.ensure_future(current_call().draining)
        try:
            await asyncio.wait((change, drain), timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            return change.result() if change.done() else known
        finally:
            for task in (change, drain):
                task.cancel()
            await asyncio.gather(change, drain, return_exceptions=True)
            await changes.aclose()

    async def _keep_expiring(self) -> None:
        failures = _Failures("endpoints that are gone may stay in their lists")
        while True:
            self._due_changed.clear()
            left: float | None = RETRY_SECONDS
            with failures.logged():
                left = self._store.expire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._due_changed.wait()

    async def _restore(self, file: SnapshotFile) -> None:
        """Restore the saved records; log those that cannot be restored."""
        if self._store.revision:
            return  # Entered before, so it still holds its records.
        try:
            found = await asyncio.to_thread(file.read, lambda opened: read_snapshot(opened.readline))
        except StoreError as error:
            kept = file.set_aside()
            logger.error(
                "the snapshot cannot be read, it is kept as %s and no record is restored: %s", kept, error
            )
            return
        if found is None:
            return
        items, faults = found
        for number, item in enumerate(items, 1):
            try:
                self._store.restore(item, GRACE_SECONDS)
            except StoreError as error:
                faults.append(Fault(f"{item.folder} at {item.key}", error.message))
            if number % RESTORED_AT_ONCE == 0:
                await asyncio.sleep(0)
        for fault in faults[:MOST_LOGGED]:
            logger.error("%s is not restored: %s", fault.name, fault.reason)
        if len(faults) > MOST_LOGGED:
            logger.error("%d more records are not restored", len(faults) - MOST_LOGGED)
        self._saved_revision = self._store.revision

    async def _keep_saved(self, file: SnapshotFile) -> None:
        failures = _Failures("a restart may lose what is in memory")
        pause = SNAPSHOT_SECONDS
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            with failures.logged():
                await self._save(file)
            pause = max(SNAPSHOT_SECONDS, SNAPSHOT_REST * (time.monotonic() - begun))

    async def _save(self, file: SnapshotFile) -> None:
        """Write all records in another thread; the loop only copies a table of references."""
        revision = self._store.revision
        if revision == self._saved_revision:
            return
        pieces = encode_snapshot(self._store.save())
        if await asyncio.to_thread(file.write, pieces, revision):
            self._saved_revision = revision


class _Failures:
    """The errors of one background task, which survives them: of those in a row, the first of each kind is logged."""

    def __init__(self, effect: str) -> None:
        self._effect = effect
        self._logged: set[type[Exception]] = set()

    @contextlib.contextmanager
    def logged(self) -> Iterator[None]:
        """Log an error of the block instead of raising it."""
        try:
            yield
        except Exception as error:
            if type(error) not in self._logged:
                self._logged.add(type(error))
                logger.error("the registry failed and tries again, %s", self._effect, exc_info=error)
        else:
            self._logged.clear()

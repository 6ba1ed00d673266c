"""The embedded registry as a service: leases, records and questions that wait for a change.

Its methods are plain calls, so any language that speaks the wire can use it. A watch is a call that is answered when
the list differs from the one the caller knows, or when its time is over.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fastrpc._core.calls.call import current_call
from fastrpc.coordination.listings import Listings, page_of
from fastrpc.coordination.registration import check_lease_seconds, check_registration
from fastrpc.coordination.snapshot import Fault, encode_snapshot, read_snapshot
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.errors import CallError, ConfigError, StoreError
from fastrpc.rpc.service import method, service
from fastrpc.status import Status
from fastrpc.stores.base import Folder
from fastrpc.stores.memory import MOST_BYTES, MemoryStore

__all__ = ["LONGEST_WAIT_SECONDS", "RegistryService", "ServiceList"]

logger = logging.getLogger("fastrpc.registry")

#: Longest time a question may wait for a change.
LONGEST_WAIT_SECONDS = 60.0

#: Seconds that leases last at least after a restart, so that every server finds the way back first.
GRACE_SECONDS = 15.0

#: Pause between a change and the snapshot that holds it, and so between two snapshots; a snapshot that takes long is
#: followed by a pause so many times as long.
SNAPSHOT_SECONDS = 0.5
SNAPSHOT_REST = 4.0

#: Most bytes of a list that is not asked for in pages: as much as a message has by default.
WHOLE_LIST_BYTES = 16 * 1024 * 1024 - 1024 * 1024

#: Records that are restored in one turn of the loop.
RESTORED_AT_ONCE = 500

#: Records left out of a snapshot that are logged one by one.
MOST_LOGGED = 100


@dataclass(frozen=True, slots=True)
class ServiceList:
    """Who serves a service."""

    #: Stands for this very list: a watch with it waits for the next one. The part before the dot changes when the
    #: registry starts anew.
    cursor: str

    #: JSON records, in the order of their addresses.
    records: list[str]

    #: The position in the list at which the next page begins; 0 when no record follows.
    following: int = 0


@service("fastrpc.registry", version="1")
class RegistryService:
    """A registry for clients with `registry://host:port`.

    Args:
        data_dir: a folder where what is registered is kept over a restart; None keeps it in memory only.
        records_bytes: what all records together, with their services and addresses, may have; more are refused.

    Raises:
        ConfigError: `records_bytes` is no positive number.
    """

    def __init__(
        self, data_dir: str | os.PathLike[str] | None = None, *, records_bytes: int = MOST_BYTES
    ) -> None:
        if not isinstance(records_bytes, int) or isinstance(records_bytes, bool) or records_bytes < 1:
            raise ConfigError(f"records_bytes is {records_bytes!r}, it must be a whole number from 1")
        self._store = MemoryStore(most_bytes=records_bytes)
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
                logger.error("what the registry does beside its calls had ended early", exc_info=failure)
        if self._file is not None:
            try:
                await self._save(self._file)
            finally:
                self._file.release()

    @method(idempotent=True)
    async def register(self, service: str, record: str, lease_seconds: float) -> str:
        """Put an endpoint into the list of a service, in place of one with its address; returns the lease."""
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
        """Keep what was registered; False when it is gone and has to be registered anew."""
        # Another server at the address may have taken the record over, and then out. One that still has it must not
        # be replaced, or the two would go on replacing each other.
        return await self._store.renew(lease) and self._store.is_whole(lease)

    @method(idempotent=True)
    async def deregister(self, lease: str) -> bool:
        """Take an endpoint out; False when it was gone."""
        return await self._store.revoke(lease)

    @method(idempotent=True, timeout=LONGEST_WAIT_SECONDS + 10)
    async def watch(
        self, service: str, after: str = "", wait_seconds: float = 0.0, page_bytes: int = 0
    ) -> ServiceList:
        """Return the list of a service, at once if it is not the one whose cursor is `after`.

        Otherwise it waits for a change, for `wait_seconds` at most, and returns the list as it is then. With
        `page_bytes` the answer has the first records of the list, of about so many bytes; `page` returns the others.
        """
        found = await self._store.list(service)
        wait = min(wait_seconds, LONGEST_WAIT_SECONDS)
        if wait > 0 and self._cursor(found) == after:
            found = await self._changed(service, found, wait)
        if page_bytes > 0:
            return self._page(service, found, 0, page_bytes)
        if found.size > WHOLE_LIST_BYTES:
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"the list of {service} has {found.size} bytes, one answer takes {WHOLE_LIST_BYTES}; "
                "ask for pages with page_bytes",
            )
        return self._part(found, 0, len(found.items))

    @method(idempotent=True)
    async def page(self, service: str, cursor: str, start: int, page_bytes: int) -> ServiceList:
        """Return further records of the very list that a cursor stands for, beginning at a position.

        ABORTED says that the list has changed and is not kept any more: begin anew with `watch`.
        """
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
        """Return how many endpoints each service has.

        With a limit these are the first so many services whose names come behind `after`.
        """
        counts = self._store.folders()
        if limit <= 0:
            return counts
        behind = (item for item in counts.items() if item[0] > after)
        return dict(itertools.islice(behind, limit))

    def _page(self, service: str, folder: Folder, start: int, page_bytes: int) -> ServiceList:
        """Return one page, and keep the list for those that follow."""
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
        """Return the list after its next change, or the one known once the time is over or the server drains."""
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
        while True:
            self._due_changed.clear()
            left = self._store.expire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._due_changed.wait()

    async def _restore(self, file: SnapshotFile) -> None:
        """Put back what was saved; what cannot be is logged."""
        if self._store.revision:
            return  # It was entered before and holds what it saved.
        try:
            found = await asyncio.to_thread(file.read, lambda opened: read_snapshot(opened.readline))
        except StoreError as error:
            kept = file.set_aside()
            logger.error(
                "the snapshot cannot be used, it is kept as %s and nothing is restored: %s", kept, error
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
            logger.error("%s is left out of what is restored: %s", fault.name, fault.reason)
        if len(faults) > MOST_LOGGED:
            logger.error("%d more records are left out of what is restored", len(faults) - MOST_LOGGED)
        self._saved_revision = self._store.revision

    async def _keep_saved(self, file: SnapshotFile) -> None:
        pause = SNAPSHOT_SECONDS
        while True:
            await asyncio.sleep(pause)
            begun = time.monotonic()
            await self._save(file)
            pause = max(SNAPSHOT_SECONDS, SNAPSHOT_REST * (time.monotonic() - begun))

    async def _save(self, file: SnapshotFile) -> None:
        """Write all records in another thread: the loop only copies tables of references."""
        revision = self._store.revision
        if revision == self._saved_revision:
            return
        pieces = encode_snapshot(self._store.save())
        if await asyncio.to_thread(file.write, pieces, revision):
            self._saved_revision = revision

"""The embedded registry as a service: leases, records and questions that wait for a change.

Its methods are plain calls, so any language that speaks the wire can use it. A watch is a call that is answered when
the list differs from the one the caller knows, or when its time is over.
"""

import asyncio
import contextlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from fastrpc._core.call import current_call
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.errors import CallError, StoreError
from fastrpc.registries.base.backed import check_service_name
from fastrpc.registries.base.record import RecordError, decode_record
from fastrpc.rpc.service import method, service
from fastrpc.status import Status
from fastrpc.stores.base import Folder
from fastrpc.stores.memory import MemoryStore

__all__ = ["LONGEST_WAIT_SECONDS", "RegistryService", "ServiceList"]

logger = logging.getLogger("fastrpc.registry")

#: Longest time a question may wait for a change.
LONGEST_WAIT_SECONDS = 60.0

#: Longest lease: what dies with its server is gone after that.
LONGEST_LEASE_SECONDS = 3_600.0

#: Seconds that leases last at least after a restart, so that every server finds the way back first.
GRACE_SECONDS = 15.0

#: Pause between a change and the snapshot that holds it, and so between two snapshots.
SNAPSHOT_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class ServiceList:
    """Who serves a service."""

    #: Stands for this very list: a watch with it waits for the next one. The part before the dot changes when the
    #: registry starts anew.
    cursor: str

    #: JSON records, in the order of their addresses.
    records: list[str]


@service("fastrpc.registry", version="1")
class RegistryService:
    """A registry for clients with `registry://host:port`.

    Args:
        data_dir: a folder where what is registered is kept over a restart; None keeps it in memory only.
    """

    def __init__(self, data_dir: str | os.PathLike[str] | None = None) -> None:
        self._store = MemoryStore()
        self._file = None if data_dir is None else SnapshotFile(Path(data_dir) / "registry.json")
        self._instance = secrets.token_hex(4)
        self._tasks: list[asyncio.Task[None]] = []
        self._due_changed = asyncio.Event()
        self._saved_revision = 0

    async def __aenter__(self) -> Self:
        if self._file is not None:
            self._file.claim()
            try:
                self._restore(self._file)
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
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._file is not None:
            try:
                await self._save(self._file)
            finally:
                self._file.release()

    @method(idempotent=True)
    async def register(self, service: str, record: str, lease_seconds: float) -> str:
        """Put an endpoint into the list of a service, in place of one with its address; returns the lease."""
        try:
            check_service_name(service)
            key = str(decode_record(record).address)
        except RecordError as error:
            raise CallError(Status.INVALID_ARGUMENT, f"the record cannot be read: {error}") from None
        except ValueError as error:
            raise CallError(Status.INVALID_ARGUMENT, str(error)) from None
        if not 1.0 <= lease_seconds <= LONGEST_LEASE_SECONDS:
            raise CallError(
                Status.INVALID_ARGUMENT,
                f"lease_seconds is {lease_seconds}, it must be from 1 to {LONGEST_LEASE_SECONDS:g}",
            )
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
    async def watch(self, service: str, after: str = "", wait_seconds: float = 0.0) -> ServiceList:
        """Return the list of a service, at once if it is not the one whose cursor is `after`.

        Otherwise it waits for a change, for `wait_seconds` at most, and returns the list as it is then.
        """
        found = await self._store.list(service)
        wait = min(wait_seconds, LONGEST_WAIT_SECONDS)
        if wait > 0 and self._cursor(found) == after:
            found = await self._changed(service, found, wait)
        return ServiceList(self._cursor(found), [item.value.decode() for item in found.items])

    @method(idempotent=True)
    async def services(self) -> dict[str, int]:
        """Return how many endpoints each service has."""
        return self._store.folders()

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

    def _restore(self, file: SnapshotFile) -> None:
        data = file.read()
        if data is None:
            return
        try:
            self._store.load(data, GRACE_SECONDS)
        except StoreError as error:
            kept = file.set_aside()
            logger.error(
                "the snapshot cannot be used, it is kept as %s and nothing is restored: %s", kept, error
            )
        self._saved_revision = self._store.revision

    async def _keep_saved(self, file: SnapshotFile) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_SECONDS)
            await self._save(file)

    async def _save(self, file: SnapshotFile) -> None:
        revision = self._store.revision
        if revision == self._saved_revision:
            return
        data = self._store.dump()
        if await asyncio.to_thread(file.write, data, revision):
            self._saved_revision = revision

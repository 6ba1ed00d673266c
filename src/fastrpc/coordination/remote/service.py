"""A store as a service: keys in memory or in a folder, for many processes.

`changes` is a unary call that returns when there are changes, or after its wait, for languages without streams. `watch`
does the same as a stream, with one message per answer.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self

from fastrpc.config import TLS, Limits, ServerConfig
from fastrpc.coordination.latest_result import LatestResult
from fastrpc.coordination.overview import overview
from fastrpc.coordination.rights import READ_KEYS, WRITE_KEYS
from fastrpc.errors import CallError, CompactedError, ConfigError, StoreConflictError, StoreError
from fastrpc.gauges import Gauge, tells_gauges
from fastrpc.hosted.draining import draining
from fastrpc.hosted.rights import Grant, ServiceRights
from fastrpc.patterns import KeyPattern
from fastrpc.rpc.marking import method
from fastrpc.rpc.service import service
from fastrpc.rpc.shared_results import SharedResult
from fastrpc.server.health import HealthSource
from fastrpc.server.wakeup import ended_by_drain
from fastrpc.status import Status
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
    LeaseChange,
    Transacted,
    Unchanged,
    Write,
    check_watched,
    revision_of_now,
)
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal

__all__ = [
    "ALIVE_SECONDS",
    "MESSAGE_BYTES",
    "MOST_BYTES",
    "BackupPart",
    "ChangeBatch",
    "StoreService",
    "store_config",
]

logger = logging.getLogger("fastrpc.store")

#: Most bytes of an RPC message: the 64 values of a transaction with the greatest size, in base64.
MESSAGE_BYTES: Final = 24 * 1024 * 1024

#: The default of the most bytes of keys and values together.
MOST_BYTES: Final = 1024 * 1024 * 1024

#: Seconds without a change after which a message shows that the store is alive.
ALIVE_SECONDS: Final = 15.0

#: Longest wait of `changes`, in seconds.
LONGEST_WAIT_SECONDS: Final = 60.0

#: Approximate bytes of the values in one page of a list.
LISTED_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class ChangeBatch(SharedResult):
    """Changes in the order of their revisions."""

    changes: Sequence[ItemChange]

    #: The revision after which to continue. It rises even without changes, so that it stays within the bounded
    #: history.
    revision: int


@dataclass(frozen=True, slots=True)
class BackupPart:
    """A part of a backup, which has all items and leases of one moment."""

    #: The revision of the store at that moment.
    revision: int

    #: Leases, some of which have items in later parts.
    leases: Sequence[LeaseChange]

    items: Sequence[Item[bytes]]


def store_config(tls: TLS | None) -> ServerConfig:
    """Return the settings of a server of the service."""
    return ServerConfig(tls=tls, limits=Limits(message_bytes=MESSAGE_BYTES))


@service("fastrpc.store", version="1")
class StoreService(HealthSource):
    """A store for clients with `store://host:port`.

    After a commit with an unknown outcome every call fails, and the health of the service is NOT_SERVING.

    Args:
        data_dir: a folder that keeps the items across restarts; None keeps them in memory only.
        sync: "full" keeps items across a power loss, "normal" only across the end of the process.
        most_bytes: the most bytes of keys and values together; more are refused.
        rights: the rights of callers to read and to write keys; None: every caller has both.
        clock: returns an instant in seconds that never decreases.

    Attributes:
        failure: the error that stopped the store; None while it serves, and after it is entered again.

    Raises:
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        sync: Literal["full", "normal"] = "full",
        most_bytes: int = MOST_BYTES,
        rights: ServiceRights | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = None if data_dir is None else SqliteJournal(data_dir, sync=sync)
        self._most_bytes = most_bytes
        self._rights = rights
        self._clock = clock
        self._store = LocalStore()
        # The latest batch of changes that watchers got.
        self._latest: LatestResult[ChangeBatch] = LatestResult()
        self.failure: StoreError | None = None
        self._failed = asyncio.Event()
        self._is_open = False
        tells_gauges(self)

    async def __aenter__(self) -> Self:
        # Without a folder start at the time of day, so that no revision of an earlier process is repeated: revisions
        # are the tokens of locks.
        begin = revision_of_now() if self._journal is None else 0
        store = LocalStore(
            self._journal,
            clock=self._clock,
            most_bytes=self._most_bytes,
            first_revision=begin,
            on_failed=self._fail,
        )
        self._store = await store.__aenter__()
        # Forget the failure of an earlier run.
        self.failure = None
        self._failed.clear()
        self.set_serving(True)
        self._is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_open = False
        await self._store.__aexit__(kind, error, traceback)

    async def failed(self) -> StoreError:
        """Wait until an error stops the store; return the error."""
        await self._failed.wait()
        assert self.failure is not None
        return self.failure

    def gauges(self) -> Iterator[Gauge]:
        """Return the gauges of the store while it is open."""
        if not self._is_open:
            return
        figures = self._store.figures()
        for name in ("items", "watchers", "leases"):
            yield f"fastrpc_store_{name}", (), figures[name]
        if self._journal is not None:
            yield "fastrpc_store_file_bytes", (), self._journal.file_bytes()

    def shown(self, most_rows: int) -> dict[str, Any]:
        """Return the state of the store for the admin page: keys, but no values."""
        return overview(self._store, most_rows)

    @method(idempotent=True)
    async def get(self, key: str) -> Item[bytes] | None:
        """Return the item of a key."""
        self._check(READ_KEYS, key)
        with _TOLD:
            return await self._store.get(key)

    @method(idempotent=True)
    async def list(self, prefix: str = "", limit: int = 1000, after: str = "") -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`, at most about a megabyte."""
        self._check(READ_KEYS, prefix)
        with _TOLD:
            page = await self._store.list(prefix, limit=limit, after=after)
        size = 0
        for number, item in enumerate(page.items):
            if size > LISTED_BYTES:
                return ItemPage(page.items[:number], page.revision, True)
            size += len(item.key) + len(item.value)
        return page

    @method
    async def put(self, key: str, value: bytes, expect: int | None = None, lease: str | None = None) -> int:
        """Write an item and return its revision.

        ABORTED: the key does not have the expected revision, where 0 means that it must not exist; the details have the
        present item.
        """
        self._check(WRITE_KEYS, key, *self._keys_beside(lease))
        with _TOLD:
            return await self._store.put(key, value, expect=expect, lease=lease)

    @method
    async def delete(self, key: str, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed. ABORTED as in `put`."""
        self._check(WRITE_KEYS, key)
        with _TOLD:
            return await self._store.delete(key, expect=expect)

    @method
    async def transact(
        self, when: Sequence[Unchanged], writes: Sequence[Write], deletions: Sequence[str]
    ) -> Transacted:
        """Execute all operations if all keys have the expected revisions, otherwise none."""
        self._check(READ_KEYS, *(step.key for step in when))
        beside = [key for lease in {step.lease for step in writes} for key in self._keys_beside(lease)]
        self._check(WRITE_KEYS, *(step.key for step in writes), *deletions, *beside)
        with _TOLD:
            return await self._store.transact(when, [*writes, *map(Deletion, deletions)])

    @method(idempotent=True, timeout=LONGEST_WAIT_SECONDS + 10)
    async def changes(self, watched: str, after: int, wait_seconds: float = 0.0) -> ChangeBatch:
        """Return changes of a key or prefix after a revision; wait for a change for at most `wait_seconds`.

        OUT_OF_RANGE: the history starts after the revision; the details have the oldest revision.
        """
        self._check(READ_KEYS, watched)
        with draining() as drain, _TOLD:
            check_watched(watched)
            wait = min(wait_seconds if wait_seconds > 0 else 0.0, LONGEST_WAIT_SECONDS)
            found = self._batch(watched, after, await self._store.next_changes(watched, after, wait, drain))
        self._check(READ_KEYS, watched)
        return found

    @method(idempotent=True)
    async def watch(self, watched: str, after: int | None = None) -> AsyncIterator[ChangeBatch]:
        """Yield changes of a key or prefix after a revision; None means the present revision.

        The first message has no changes. After 15 s without a change, a message without changes shows that the store is
        alive. The stream ends with UNAVAILABLE when its connection drains.
        """
        reached = self._store.revision if after is None else after
        self._check(READ_KEYS, watched)
        with _TOLD:
            check_watched(watched)
        yield ChangeBatch((), reached)
        with draining() as drain, _TOLD:
            while not drain.done():
                changes = await self._store.next_changes(watched, reached, ALIVE_SECONDS, drain)
                found = self._batch(watched, reached, changes)
                # Check the right for each message, since it may end before the stream does.
                self._check(READ_KEYS, watched)
                reached = found.revision
                yield found
        raise ended_by_drain()

    @method
    async def lease(self, seconds: float) -> str:
        """Create a lease. After `seconds` without `renew` it ends, and its items are removed."""
        self._check_any()
        with _TOLD:
            return await self._store.lease(seconds)

    @method(idempotent=True)
    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""
        self._check_any(*self._store.content.keys_of(lease))
        with _TOLD:
            return await self._store.renew(lease)

    @method(idempotent=True)
    async def revoke(self, lease: str) -> bool:
        """End a lease now and remove its items; return whether the lease existed."""
        self._check_any(*self._store.content.keys_of(lease))
        with _TOLD:
            return await self._store.revoke(lease)

    @method(idempotent=True)
    async def backup(self) -> AsyncIterator[BackupPart]:
        """Yield all items and leases of the moment at which the stream starts. Needs the right to read every key."""
        self._check(READ_KEYS, "")
        with _TOLD:
            saved = await self._store.saved()
        leases, start, size = saved.leases, 0, 0
        for number, item in enumerate(saved.items, 1):
            size += len(item.key) + len(item.value)
            if size > LISTED_BYTES:
                yield BackupPart(saved.revision, leases, saved.items[start:number])
                leases, start, size = (), number, 0
        yield BackupPart(saved.revision, leases, saved.items[start:])

    @property
    def local(self) -> LocalStore:
        """The store itself, which does not check rights."""
        return self._store

    @property
    def rights(self) -> ServiceRights | None:
        """The rights of callers; None: every caller has all rights."""
        return self._rights

    def _fail(self, error: StoreError) -> None:
        logger.error("the store has stopped: %s", error)
        self.failure = error
        self._failed.set()
        self.set_serving(False)

    def _batch(self, watched: str, reached: int, found: tuple[Sequence[ItemChange], int]) -> ChangeBatch:
        """Return the next changes. Watchers that get the same changes share one object."""
        changes, revision = found
        if not changes:
            return ChangeBatch(changes, revision)
        return self._latest.get((watched, reached, revision), lambda: ChangeBatch(changes, revision))

    def _check(self, right: Grant[KeyPattern], *keys: str) -> None:
        if self._rights is not None:
            self._rights.check(right, keys)

    def _keys_beside(self, lease: str | None) -> Sequence[str]:
        """Return the keys of a lease: a caller that adds a key to it needs the right to write all of them."""
        return () if lease is None or self._rights is None else self._store.content.keys_of(lease)

    def _check_any(self, *keys: str) -> None:
        """Check the right to write all keys of a lease; if it has none, check that the caller may write any key."""
        if keys:
            self._check(WRITE_KEYS, *keys)
        elif self._rights is not None:
            self._rights.check_any(WRITE_KEYS)


class _Told:
    """A context manager that converts errors of the store to answers."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, StoreConflictError):
            raise CallError(error.status, error.message, details=error.item) from None
        if isinstance(error, CompactedError):
            raise CallError(error.status, error.message, details=error.oldest) from None
        if isinstance(error, ConfigError):
            raise CallError(Status.INVALID_ARGUMENT, error.message) from None
        if isinstance(error, StoreError):
            raise CallError(error.status, error.message) from None


_TOLD: Final = _Told()

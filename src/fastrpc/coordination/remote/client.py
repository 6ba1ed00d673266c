"""`store://host:port`: the service `fastrpc.store` as a backend."""

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from fastrpc.client.client import Client
from fastrpc.client.credentials import CredentialSource
from fastrpc.config import Timeouts
from fastrpc.coordination.remote.service import ALIVE_SECONDS, MESSAGE_BYTES, BackupPart, StoreService
from fastrpc.errors import (
    CallError,
    CompactedError,
    ConfigError,
    FastRPCError,
    StoreConflictError,
    StoreError,
)
from fastrpc.hosted.faults import BackendErrors
from fastrpc.hosted.remote import hosted_client
from fastrpc.hosted.verbs import PATIENCE_SECONDS
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.status import Status
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
    ItemWatch,
    StoreLimits,
    Transacted,
    Unchanged,
    Write,
    check_key,
    check_lease_seconds,
    check_prefix,
    check_transaction,
    check_watched,
)

__all__ = ["STORE_ERRORS", "RemoteStore", "open_remote"]


def open_remote(url: RegistryURL, credentials: CredentialSource | None = None) -> "RemoteStore":
    """Return the store at `store://host:port`. The options are the same as for `registry://`.

    Raises:
        ConfigError: an option is wrong, or a token would be sent in plain text.
    """
    return RemoteStore(
        hosted_client(
            url,
            credentials,
            service="store",
            contents="other keys",
            timeouts=Timeouts(call=PATIENCE_SECONDS, stream_idle=2 * ALIVE_SECONDS),
            message_bytes=MESSAGE_BYTES,
        )
    )


class RemoteStore:
    """A `StoreBackend` that calls the service `fastrpc.store` of a server."""

    #: Requests stay in order: there is one server process and one connection, and its handlers start in the order of
    #: their requests.
    limits: Final = StoreLimits(ends_in_time=True, in_order=True)

    def __init__(self, client: Client) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, traceback)

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        """Return the item of a key; `stale` has no effect here."""
        check_key(key)
        with STORE_ERRORS:
            return await self._client.call(StoreService.get, key)

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`, at most about a megabyte."""
        check_prefix(prefix)
        with STORE_ERRORS:
            return await self._client.call(StoreService.list, prefix, limit, after)

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        """Write an item and return its revision."""
        check_transaction([], [Write(key, value)])
        with STORE_ERRORS:
            return await self._client.call(StoreService.put, key, value, expect, lease)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed."""
        check_key(key)
        with STORE_ERRORS:
            return await self._client.call(StoreService.delete, key, expect)

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        """Execute all operations if all keys have the expected revisions, otherwise none."""
        check_transaction(when, do)
        writes = [step for step in do if isinstance(step, Write)]
        deletions = [step.key for step in do if isinstance(step, Deletion)]
        with STORE_ERRORS:
            return await self._client.call(StoreService.transact, when, writes, deletions)

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        """Yield each change of a key, or of all keys of a prefix, in order."""
        check_watched(watched)
        return ItemWatch(self._watch(watched, after))

    async def _watch(self, watched: str, after: int | None) -> AsyncGenerator[ItemChange | int, None]:
        with STORE_ERRORS:
            async with self._client.stream(StoreService.watch, watched, after) as batches:
                async for batch in batches:
                    for change in batch.changes:
                        yield change
                    yield batch.revision

    async def backup(self) -> AsyncGenerator[BackupPart, None]:
        """Yield all items and leases of one moment."""
        with STORE_ERRORS:
            async with self._client.stream(StoreService.backup) as parts:
                async for part in parts:
                    yield part

    async def lease(self, seconds: float) -> str:
        """Create a lease. After `seconds` without `renew` it ends, together with its items."""
        check_lease_seconds(seconds)
        with STORE_ERRORS:
            return await self._client.call(StoreService.lease, seconds)

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""
        with STORE_ERRORS:
            return await self._client.call(StoreService.renew, lease)

    async def revoke(self, lease: str) -> bool:
        """End a lease now and remove its items; return whether the lease existed."""
        with STORE_ERRORS:
            return await self._client.call(StoreService.revoke, lease)


def _own_error(error: CallError) -> FastRPCError | None:
    details: Any = error.details
    if error.status is Status.ABORTED:
        return StoreConflictError(error.message, item=None if details is None else Item(**details))
    if error.status is Status.OUT_OF_RANGE:
        return CompactedError(error.message, oldest=details or 0)
    if error.status is Status.INVALID_ARGUMENT:
        return ConfigError(error.message, hint=error.hint)
    return None


STORE_ERRORS: Final = BackendErrors("store", StoreError, _own_error)

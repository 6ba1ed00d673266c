"""The typed key-value store that `open_store` returns."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, overload

from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.coordination.changes import Changes
from fastrpc.coordination.lease import StoreLease, boot_time
from fastrpc.coordination.locks import (
    LEADERS,
    LOCKS,
    Holder,
    Lock,
    read_holder,
    run_as_leader,
    watch_holder,
)
from fastrpc.coordination.mirror import Mirror
from fastrpc.coordination.revocations import Revocations
from fastrpc.coordination.settings import Following
from fastrpc.coordination.store_urls import Opening, open_backend
from fastrpc.coordination.values import decode_item, encode_value_of
from fastrpc.coordination.verbs import finish
from fastrpc.errors import ConfigError, StoreError
from fastrpc.hosted.opened import OpenedBackend
from fastrpc.stores.base import Deletion, Item, StoreBackend, StoreLimits, Transacted, Unchanged, Write

__all__ = ["Delete", "ItemList", "Outcome", "Put", "Store", "absent", "open_store", "unchanged"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

#: The result of a transaction: `succeeded`, `revision`, and the present `items` of its conditions on failure.
Outcome = Transacted


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Put:
    """The operation of a transaction that writes an item, whether the key exists or not."""

    key: str

    #: The value. Bytes are written unchanged, all other values as JSON.
    value: Any

    #: The lease of the item: when it ends, the item is removed.
    lease: _HasId | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """An operation of a transaction that removes a key if it exists."""

    key: str


class ItemList(Sequence[Item[T_co]], Generic[T_co]):
    """Items in the order of their keys, at one revision of the store.

    Attributes:
        revision: the revision of the list; a watch after this revision misses no change.
        is_cut: True if more items follow.
    """

    def __init__(self, items: Sequence[Item[T_co]], revision: int, is_cut: bool) -> None:
        self._items = items
        self.revision = revision
        self.is_cut = is_cut

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, place: int) -> Item[T_co]: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Item[T_co]]: ...
    def __getitem__(self, place: int | slice) -> Item[T_co] | Sequence[Item[T_co]]:
        return self._items[place]

    def __repr__(self) -> str:
        return f"ItemList({list(self._items)}, revision={self.revision}, is_cut={self.is_cut})"


def unchanged(key: str, revision: int) -> Unchanged:
    """Return the condition that a key has a revision."""
    return Unchanged(key, revision)


def absent(key: str) -> Unchanged:
    """Return the condition that a key does not exist."""
    return Unchanged(key, 0)


def open_store(url: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None) -> "Store":
    """Return the store at a URL, for one `async with`.

    Args:
        url: such as `sqlite:///var/lib/shop` or `store://127.0.0.1:8969`.
        tls: the certificates for a URL with `tls=true` that names no certificates.
        credentials: a token for `store://`, or a function that returns one.

    Raises:
        ConfigError: the scheme is unknown, or an option is wrong.
    """
    return Store(open_backend(url, tls=tls, credentials=credentials))


class Store:
    """Keys with values, revisions, watches and leases.

    Each method ends within the deadline of the call or the `fastrpc.timeout` around it; without a deadline it ends
    within 5 s. Until then, if the store is unreachable, reads are repeated, and writes only if they did not start.
    """

    def __init__(self, opening: Opening, *, clock: Callable[[], float] = boot_time) -> None:
        self._opened = OpenedBackend(opening, "store", StoreError)
        # The clock of leases.
        self._clock = clock
        # The settings that follow keys; they end when the store is closed.
        self._followings = AsyncExitStack()
        self._revocations = Revocations()

    async def __aenter__(self) -> Self:
        await self._opened.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._opened.is_ours:
            try:
                await self._close_parts()
            finally:
                await self._opened.leave(kind, error, traceback)

    async def _close_parts(self) -> None:
        try:
            await self._followings.aclose()
        except asyncio.CancelledError:
            # If closing was cancelled, do not wait any longer.
            self._revocations.give_up()
            raise
        finally:
            await self._revocations.close()

    @property
    def backend(self) -> StoreBackend:
        """The backend, without types, deadlines and repeats.

        Raises:
            StoreError: it is closed.
            RuntimeError: this process was forked from the process that opened it.
        """
        return self._opened.backend

    @overload
    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None: ...
    @overload
    async def get(self, key: str, type: type[T], *, stale: bool = False) -> Item[T] | None: ...
    async def get(self, key: str, type: Any = bytes, *, stale: bool = False) -> Item[Any] | None:
        """Return the item of a key, its value decoded strictly to a type; None if the key does not exist.

        Args:
            stale: whether the item may be outdated, which is faster in some stores.

        Raises:
            DecodeError: the value cannot be decoded to the type.
        """
        backend = self.backend
        work = partial(backend.get, key, stale=stale)
        item = await finish(f"get of {key!r}", work, ends_in_time=backend.limits.ends_in_time)
        return None if item is None else decode_item(item, type)

    @overload
    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[bytes]: ...
    @overload
    async def list(
        self, prefix: str, type: type[T], *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[T]: ...
    async def list(
        self, prefix: str = "", type: Any = bytes, *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[Any]:
        """Return the first items of a prefix, which is "" or ends in `/`, whose keys sort after `after`.

        Raises:
            DecodeError: a value cannot be decoded to the type; the message names its key.
        """
        backend = self.backend
        work = partial(backend.list, prefix, limit=limit, after=after, stale=stale)
        page = await finish(f"list of {prefix!r}", work, ends_in_time=backend.limits.ends_in_time)
        items = tuple(decode_item(item, type) for item in page.items)
        return ItemList(items, page.revision, page.is_cut)

    async def put(
        self, key: str, value: Any, *, expect: int | None = None, lease: _HasId | None = None
    ) -> int:
        """Write an item, bytes unchanged and any other value as JSON; return its revision.

        Args:
            expect: the expected revision of the key; 0 means that it must not exist.
            lease: the lease of the item: when it ends, the item is removed.

        Raises:
            StoreConflictError: the key has another revision.
        """
        backend, name = self.backend, None if lease is None else lease.id
        encoded = encode_value_of(key, value, backend.limits)
        work = partial(backend.put, key, encoded, expect=expect, lease=name)
        in_time = backend.limits.ends_in_time
        return await finish(f"put of {key!r}", work, writes=True, ends_in_time=in_time)

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed. StoreConflictError: the key has another revision."""
        backend = self.backend
        work = partial(backend.delete, key, expect=expect)
        in_time = backend.limits.ends_in_time
        return await finish(f"delete of {key!r}", work, writes=True, ends_in_time=in_time)

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Put | Delete]) -> Outcome:
        """Execute all operations if all conditions hold, otherwise none; the outcome then has the present items.

        Args:
            when: conditions from `unchanged`, `absent` and `lock.held()`.
            do: `Put` and `Delete` operations, at most one for each key.
        """
        backend = self.backend
        limits = backend.limits
        _check_size(when, do, limits)
        steps = [_step(operation, limits) for operation in do]
        work = partial(backend.transact, when, steps)
        return await finish("the transaction", work, writes=True, ends_in_time=limits.ends_in_time)

    @overload
    def watch(
        self, watched: str, *, after: int | None = None, every_change: bool = False
    ) -> Changes[bytes]: ...
    @overload
    def watch(
        self, watched: str, type: type[T], *, after: int | None = None, every_change: bool = False
    ) -> Changes[T]: ...
    def watch(
        self, watched: str, type: Any = bytes, *, after: int | None = None, every_change: bool = False
    ) -> Changes[Any]:
        """Return the changes of a key, or of a prefix, for `async with` and then `async for`.

        A slow reader may get only the latest change of a key.

        Args:
            after: return changes after this revision; None: from now on.
            every_change: return every change; raise CompactedError if one is lost.

        Raises:
            ConfigError: this store does not support `every_change`.
        """
        backend = self.backend
        if every_change and not backend.limits.every_change:
            raise ConfigError(
                "this store shows only the latest change of a key", hint="leave every_change out"
            )
        return Changes(backend, watched, type, after)

    @overload
    def mirror(self, prefix: str) -> Mirror[bytes]: ...
    @overload
    def mirror(self, prefix: str, type: type[T]) -> Mirror[T]: ...
    def mirror(self, prefix: str, type: Any = bytes) -> Mirror[Any]:
        """Return a mapping of the keys below a prefix to their values, for `async with`. It follows changes."""
        return Mirror(self.backend, prefix, type)

    def lease(self, ttl: float) -> StoreLease:
        """Return a lease for `async with`, renewed while the block runs. When the lease ends, its items are removed.

        When the lease is lost, the block is cancelled, and LockLostError is raised.
        """
        lease = StoreLease(self.backend, ttl, clock=self._clock)
        lease.revocations = self._revocations
        return lease

    def lock(self, name: str, *, ttl: float = 15, wait: float | None = None, value: str = "") -> Lock:
        """Return a lock for `async with`; waiting callers get it in the order of arrival.

        A holder that was paused may act after another program got the lock. To prevent this, pass `lock.token`, which
        is greater for each later holder, to everything that it writes to. When the lock is lost, the block is cancelled
        and LockLostError is raised.

        Args:
            ttl: seconds after which another program may get the lock if this process dies.
            wait: the longest wait in seconds, after which LockHeldError is raised; 0: do not wait. The caller's
                deadline ends the wait, too.
            value: a text that describes the holder to other programs.
        """
        return self._lock(name, ttl=ttl, wait=wait, value=value)

    def semaphore(
        self, name: str, slots: int, *, ttl: float = 15, wait: float | None = None, value: str = ""
    ) -> Lock:
        """Return a slot of a semaphore for `async with`, like `lock`. Its token cannot serve to refuse late holders."""
        return self._lock(name, slots=slots, ttl=ttl, wait=wait, value=value)

    async def holder(self, name: str) -> Holder | None:
        """Return the holder of a lock."""
        return await read_holder(self.backend, LOCKS, name)

    def lead(self, name: str, value: str, *, ttl: float = 15) -> Lock:
        """Return a candidacy for `async with`. The block is entered when elected, and ends like the block of a lock.

        Args:
            value: a text that describes the leader to other programs, for example its address.
        """
        return self._lock(name, folder=LEADERS, ttl=ttl, value=value)

    async def leader(self, name: str) -> Holder | None:
        """Return the leader of an election."""
        return await read_holder(self.backend, LEADERS, name)

    def watch_leader(self, name: str) -> AsyncGenerator[Holder | None, None]:
        """Yield the present leader, then each next leader; None while there is no leader."""
        return watch_holder(self.backend, LEADERS, name)

    async def run_while_leading(
        self, name: str, function: Callable[[Lock], Awaitable[T]], *, value: str = "", ttl: float = 15
    ) -> T:
        """Run `function(lock)` when elected, cancel it when the leadership is lost; repeat until it returns."""
        return await run_as_leader(lambda: self.lead(name, value, ttl=ttl), function)

    async def follow(
        self,
        key: str,
        type: type[T],
        *,
        default: Any = ...,
        check: Callable[[T], object] | None = None,
        cache_file: str | os.PathLike[str] | None = None,
    ) -> Following[T]:
        """Return the last good value of a key, which follows changes until the store is closed.

        Args:
            default: the value if the store has no value; Ellipsis means that a value is required.
            check: a plain function that refuses a value by raising any exception.
            cache_file: a file that keeps the last good value, for a start without the store.

        Raises:
            StoreError: there is no value.
            TypeError: `check` is an `async def` function.
        """
        following = Following(self.backend, key, type, default=default, check=check, cache_file=cache_file)
        return await self._followings.enter_async_context(following)

    def _lock(self, name: str, **options: Any) -> Lock:
        lock = Lock(self.backend, name, clock=self._clock, **options)
        lock.lease.revocations = self._revocations
        return lock


def _check_size(when: Sequence[Unchanged], do: Sequence[Put | Delete], limits: StoreLimits) -> None:
    steps = len(when) + len(do)
    if steps > limits.most_transaction:
        raise ConfigError(f"the transaction has {steps} steps, the limit is {limits.most_transaction}")
    keys = len({step.key for step in (*when, *do)})
    if keys > limits.most_keys:
        raise ConfigError(f"the transaction has {keys} keys, the limit of this store is {limits.most_keys}")


def _step(operation: Put | Delete, limits: StoreLimits) -> Write | Deletion:
    if isinstance(operation, Delete):
        return Deletion(operation.key)
    value = encode_value_of(operation.key, operation.value, limits)
    return Write(operation.key, value, None if operation.lease is None else operation.lease.id)

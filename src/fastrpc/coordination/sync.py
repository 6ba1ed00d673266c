"""The blocking variant of stores. It has the same methods and runs an event loop in one thread.

::

    from fastrpc.coordination.sync import open_store

    with open_store("store://127.0.0.1:8969") as store:
        store.put("shop/limits", Limits(rate=10))
"""

import asyncio
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, overload

from fastrpc.client.credentials import CredentialSource
from fastrpc.config import TLS
from fastrpc.coordination import store as asynchronous
from fastrpc.coordination.changes import Change, Changes
from fastrpc.coordination.locks import CANDIDACY_SECONDS, Holder, stands_again
from fastrpc.coordination.mirror import Mirror
from fastrpc.coordination.settings import Following
from fastrpc.coordination.store import Delete, ItemList, Outcome, Put, Store
from fastrpc.coordination.sync_locks import SyncLease, SyncLock
from fastrpc.errors import StoreError
from fastrpc.hosted.blocking import BlockingLife, BlockingThread
from fastrpc.stores.base import Item, Unchanged

__all__ = ["SyncChanges", "SyncMirror", "SyncStore", "open_store"]

T = TypeVar("T")


def open_store(
    url: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> "SyncStore":
    """Return the store at a URL, for one `with`; the arguments are as for `fastrpc.coordination.open_store`."""
    return SyncStore(asynchronous.open_store(url, tls=tls, credentials=credentials))


class SyncStore:
    """A store for threads, with the methods of `Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._life = BlockingLife(store, "store", StoreError)

    def __enter__(self) -> Self:
        self._life.enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._life.leave(kind, error, traceback)

    @overload
    def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None: ...
    @overload
    def get(self, key: str, type: type[T], *, stale: bool = False) -> Item[T] | None: ...
    def get(self, key: str, type: Any = bytes, *, stale: bool = False) -> Item[Any] | None:
        """Return the item of a key, its value decoded strictly to a type; None if the key does not exist."""
        return self._life.run(self._store.get(key, type, stale=stale))

    @overload
    def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[bytes]: ...
    @overload
    def list(
        self, prefix: str, type: type[T], *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[T]: ...
    def list(
        self, prefix: str = "", type: Any = bytes, *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemList[Any]:
        """Return the first items of a prefix, which is "" or ends in `/`, whose keys sort after `after`."""
        return self._life.run(self._store.list(prefix, type, limit=limit, after=after, stale=stale))

    def put(self, key: str, value: Any, *, expect: int | None = None, lease: Any = None) -> int:
        """Write an item, bytes unchanged and any other value as JSON; return its revision."""
        return self._life.run(self._store.put(key, value, expect=expect, lease=lease))

    def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed."""
        return self._life.run(self._store.delete(key, expect=expect))

    def transact(self, when: Sequence[Unchanged], do: Sequence[Put | Delete]) -> Outcome:
        """Execute all operations if all conditions hold, otherwise none."""
        return self._life.run(self._store.transact(when, do))

    @overload
    def watch(
        self, watched: str, *, after: int | None = None, every_change: bool = False
    ) -> "SyncChanges[bytes]": ...
    @overload
    def watch(
        self, watched: str, type: type[T], *, after: int | None = None, every_change: bool = False
    ) -> "SyncChanges[T]": ...
    def watch(
        self, watched: str, type: Any = bytes, *, after: int | None = None, every_change: bool = False
    ) -> "SyncChanges[Any]":
        """Return the changes of a key, or of a prefix, for `with` and then `for`."""
        thread = self._life.thread
        return SyncChanges(thread, self._store.watch(watched, type, after=after, every_change=every_change))

    @overload
    def mirror(self, prefix: str) -> "SyncMirror[bytes]": ...
    @overload
    def mirror(self, prefix: str, type: type[T]) -> "SyncMirror[T]": ...
    def mirror(self, prefix: str, type: Any = bytes) -> "SyncMirror[Any]":
        """Return a mapping of the keys below a prefix to their values, for `with`. It follows changes."""
        return SyncMirror(self._life.thread, self._store.mirror(prefix, type))

    def lease(self, ttl: float) -> SyncLease:
        """Return a lease for `with`, renewed while the block runs. When the lease ends, its items are removed."""
        return SyncLease(self._life.thread, self._store.lease(ttl))

    def lock(self, name: str, *, ttl: float = 15, wait: float | None = None, value: str = "") -> SyncLock:
        """Return a lock for `with`; the arguments are as for `Store.lock`."""
        return SyncLock(self._life.thread, self._store.lock(name, ttl=ttl, wait=wait, value=value))

    def semaphore(
        self, name: str, slots: int, *, ttl: float = 15, wait: float | None = None, value: str = ""
    ) -> SyncLock:
        """Return a slot of a semaphore for `with`, like `lock`. Its token cannot serve to refuse late holders."""
        return SyncLock(
            self._life.thread, self._store.semaphore(name, slots, ttl=ttl, wait=wait, value=value)
        )

    def holder(self, name: str) -> Holder | None:
        """Return the holder of a lock."""
        return self._life.run(self._store.holder(name))

    def lead(self, name: str, value: str, *, ttl: float = 15) -> SyncLock:
        """Return a candidacy for `with`. The block is entered when elected."""
        return SyncLock(self._life.thread, self._store.lead(name, value, ttl=ttl))

    def leader(self, name: str) -> Holder | None:
        """Return the leader of an election."""
        return self._life.run(self._store.leader(name))

    def watch_leader(self, name: str) -> Generator[Holder | None, None, None]:
        """Yield the present leader, then each next leader; None while there is no leader."""
        return self._life.thread.each(self._store.watch_leader(name))

    def run_while_leading(
        self, name: str, function: Callable[[SyncLock], T], *, value: str = "", ttl: float = 15
    ) -> T:
        """Run `function(lock)` in this thread when elected; repeat until it returns as the leader. Return its result.

        The function is not cancelled when the leadership is lost: it has to check `lock.lost` or call `lock.check()`
        between its steps. It is called again at the next election.
        """
        thread = self._life.thread
        while True:
            candidacy = self._store.lead(name, value, ttl=ttl)
            is_elected = False
            try:
                with SyncLock(thread, candidacy) as lock:
                    is_elected = True
                    return function(lock)
            except StoreError as error:
                if not stands_again(candidacy, error, is_elected=is_elected):
                    raise
            thread.run(asyncio.sleep(CANDIDACY_SECONDS))

    def follow(
        self,
        key: str,
        type: type[T],
        *,
        default: Any = ...,
        check: Callable[[T], object] | None = None,
        cache_file: str | os.PathLike[str] | None = None,
    ) -> Following[T]:
        """Return the last good value of a key, which follows changes until the store is closed, for any thread."""
        return self._life.run(
            self._store.follow(key, type, default=default, check=check, cache_file=cache_file)
        )


class SyncChanges(Generic[T]):
    """The changes of a key or prefix: a context manager, and an iterator inside."""

    def __init__(self, thread: BlockingThread, changes: Changes[T]) -> None:
        self._thread = thread
        self._changes = changes

    def __enter__(self) -> Self:
        self._thread.run(self._changes.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.run(self._changes.__aexit__(kind, error, traceback))

    def __iter__(self) -> Iterator[Change[T]]:
        return self

    def __next__(self) -> Change[T]:
        try:
            return self._thread.run(self._changes.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


class SyncMirror(Generic[T]):
    """The values of a prefix: a context manager that returns a mapping which follows changes."""

    def __init__(self, thread: BlockingThread, mirror: Mirror[T]) -> None:
        self._thread = thread
        self._mirror = mirror

    def __enter__(self) -> Mirror[T]:
        self._thread.run(self._mirror.__aenter__())
        return self._mirror

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.run(self._mirror.__aexit__(kind, error, traceback))

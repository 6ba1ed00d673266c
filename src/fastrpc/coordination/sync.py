"""The blocking twin of stores: the same verbs, over one thread with an event loop.

::

    from fastrpc.coordination.sync import open_store

    with open_store("store://127.0.0.1:8969") as store:
        store.put("shop/limits", Limits(rate=10))
"""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Sequence
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
from fastrpc.stores.base import Item, Unchanged
from fastrpc.user_code import without_exit

__all__ = ["SyncChanges", "SyncMirror", "SyncStore", "StoreThread", "open_store"]

T = TypeVar("T")


def open_store(
    url: str, *, tls: TLS | None = None, credentials: CredentialSource | None = None
) -> "SyncStore":
    """Return the store at a URL, for one `with`; the arguments are those of `fastrpc.coordination.open_store`."""
    return SyncStore(asynchronous.open_store(url, tls=tls, credentials=credentials))


class StoreThread:
    """A thread with an event loop, for coroutines of other threads."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        # Taken again by an iterator that the collector ends meanwhile.
        self._lock = threading.RLock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="fastrpc store", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of a coroutine, which has the deadline of the calling thread.

        Raises:
            RuntimeError: this process was forked from the one that began the thread.
            StoreError: another thread has closed the store, also meanwhile.
        """
        result = self.begin(work)
        try:
            return result.result()
        except concurrent.futures.CancelledError:
            raise StoreError("the store was closed meanwhile", processed="unknown") from None
        except BaseException:
            # An interrupt of the waiting thread ends the coroutine, too.
            result.cancel()
            raise

    def begin(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Begin a coroutine without waiting for it. Errors as of `run`, but for an end meanwhile."""
        if self.is_of_parent:
            work.close()
            raise RuntimeError("the store was opened before a fork; open it in each process")
        # Coroutines that begin before the end are ended by it, and none begins later.
        with self._lock:
            if self._is_closed:
                work.close()
                raise StoreError("the store is closed", processed="no")
            return asyncio.run_coroutine_threadsafe(without_exit(work, "the store"), self._loop)

    @property
    def is_of_parent(self) -> bool:
        """Whether the thread stayed with the process from which this one was forked."""
        return self._process != os.getpid()

    def close(self) -> None:
        """End the thread, and what other threads wait for."""
        with self._lock:
            self._is_closed = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others)


class SyncStore:
    """Keys with values, revisions, watches and leases, for threads; its verbs are those of `Store`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread: StoreThread | None = None

    def __enter__(self) -> Self:
        if self._thread is not None:
            raise RuntimeError("the store is open already")
        thread = StoreThread()
        try:
            thread.run(self._store.__aenter__())
        except BaseException:
            thread.close()
            raise
        self._thread = thread
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        if thread is None or thread.is_of_parent:
            return
        try:
            thread.run(self._store.__aexit__(kind, error, traceback))
        finally:
            thread.close()

    @overload
    def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None: ...
    @overload
    def get(self, key: str, type: type[T], *, stale: bool = False) -> Item[T] | None: ...
    def get(self, key: str, type: Any = bytes, *, stale: bool = False) -> Item[Any] | None:
        """Return the item of a key, its value decoded strictly to a type; None for an absent one."""
        return self._run(self._store.get(key, type, stale=stale))

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
        return self._run(self._store.list(prefix, type, limit=limit, after=after, stale=stale))

    def put(self, key: str, value: Any, *, expect: int | None = None, lease: Any = None) -> int:
        """Write an item, bytes as they are and all else as JSON; return its revision."""
        return self._run(self._store.put(key, value, expect=expect, lease=lease))

    def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it was there."""
        return self._run(self._store.delete(key, expect=expect))

    def transact(self, when: Sequence[Unchanged], do: Sequence[Put | Delete]) -> Outcome:
        """Do all operations if all conditions hold, else none of them."""
        return self._run(self._store.transact(when, do))

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
        thread = self._opened()
        return SyncChanges(thread, self._store.watch(watched, type, after=after, every_change=every_change))

    @overload
    def mirror(self, prefix: str) -> "SyncMirror[bytes]": ...
    @overload
    def mirror(self, prefix: str, type: type[T]) -> "SyncMirror[T]": ...
    def mirror(self, prefix: str, type: Any = bytes) -> "SyncMirror[Any]":
        """Return the values of a prefix by key, for `with`: a mapping that is kept current."""
        return SyncMirror(self._opened(), self._store.mirror(prefix, type))

    def lease(self, ttl: float) -> SyncLease:
        """Return a lease for `with`, renewed while the block runs; items that are put with it end with it."""
        return SyncLease(self._opened(), self._store.lease(ttl))

    def lock(self, name: str, *, ttl: float = 15, wait: float | None = None, value: str = "") -> SyncLock:
        """Return a lock for `with`; the arguments are those of `Store.lock`."""
        return SyncLock(self._opened(), self._store.lock(name, ttl=ttl, wait=wait, value=value))

    def semaphore(
        self, name: str, slots: int, *, ttl: float = 15, wait: float | None = None, value: str = ""
    ) -> SyncLock:
        """Return one of a number of slots for `with`, like `lock`; its token fences nothing."""
        return SyncLock(self._opened(), self._store.semaphore(name, slots, ttl=ttl, wait=wait, value=value))

    def holder(self, name: str) -> Holder | None:
        """Return the holder of a lock."""
        return self._run(self._store.holder(name))

    def lead(self, name: str, value: str, *, ttl: float = 15) -> SyncLock:
        """Return a candidacy for `with`, entered when elected."""
        return SyncLock(self._opened(), self._store.lead(name, value, ttl=ttl))

    def leader(self, name: str) -> Holder | None:
        """Return the leader of an election."""
        return self._run(self._store.leader(name))

    def watch_leader(self, name: str) -> Generator[Holder | None, None, None]:
        """Yield the present leader, then each next one; None while there is no leader."""
        return _each(self._opened(), self._store.watch_leader(name))

    def run_while_leading(
        self, name: str, function: Callable[[SyncLock], T], *, value: str = "", ttl: float = 15
    ) -> T:
        """Run `function(lock)` in this thread at each election, until it returns and still leads; return its result.

        The function is not cancelled when the leadership is lost: it looks at `lock.lost`, or calls `lock.check()`
        between two steps, and then runs again at the next election.
        """
        thread = self._opened()
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
        """Return the last good value of a key, kept current until the store closes; any thread may read it."""
        return self._run(self._store.follow(key, type, default=default, check=check, cache_file=cache_file))

    def _opened(self) -> StoreThread:
        if self._thread is None:
            raise StoreError("the store is not open", processed="no", hint="write with open_store(…)")
        return self._thread

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            thread = self._opened()
        except StoreError:
            work.close()
            raise
        return thread.run(work)


def _each(thread: StoreThread, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Yield what an asynchronous generator yields in the thread of a store."""

    async def take() -> T:
        return await anext(source)

    async def end() -> None:
        await source.aclose()

    try:
        while True:
            yield thread.run(take())
    finally:
        # The collector may end it, in any thread and after the store was closed: without a wait.
        with contextlib.suppress(StoreError, RuntimeError):
            thread.begin(end())


class SyncChanges(Generic[T]):
    """The changes of a key or prefix: a context manager, and an iterator inside."""

    def __init__(self, thread: StoreThread, changes: Changes[T]) -> None:
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
    """The values of a prefix: a context manager, which gives the mapping that is kept current."""

    def __init__(self, thread: StoreThread, mirror: Mirror[T]) -> None:
        self._thread = thread
        self._mirror = mirror

    def __enter__(self) -> Mirror[T]:
        self._thread.run(self._mirror.__aenter__())
        return self._mirror

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._thread.run(self._mirror.__aexit__(kind, error, traceback))

"""The changes of a key or prefix. After an outage of the store they continue where they stopped."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from fastrpc.coordination.values import decode_item
from fastrpc.coordination.verbs import finish
from fastrpc.errors import StoreError
from fastrpc.hosted.verbs import PATIENCE_SECONDS, pauses
from fastrpc.stores.base import Item, ItemChange, ItemWatch, StoreBackend, Unchanged

__all__ = ["Change", "Changes", "ItemChanges"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Change(Generic[T_co]):
    """A change of one key: it was written or deleted."""

    kind: Literal["put", "deleted"]
    key: str

    #: The new item; None if the key was deleted.
    item: Item[T_co] | None

    #: The revision of the change, which all changes of a transaction share.
    revision: int


class ItemChanges:
    """The changes after a revision, each once. If a watch of the backend ends, the next watch continues.

    Args:
        after: the revision after which the changes begin.
    """

    def __init__(self, backend: StoreBackend, watched: str, after: int) -> None:
        self._backend = backend
        self._watched = watched
        # All changes up to the revision `_reached` were returned. Of the revision `_latest`, the changes of the keys in
        # `_seen` were returned.
        self._reached = after
        self._latest = after
        self._seen: set[str] = set()
        self._source: AsyncGenerator[ItemChange, None] | None = None

    async def next(self) -> ItemChange:
        """Return the next change. After a StoreError or a cancellation, the next call continues at the same position.

        Raises:
            CompactedError: the store no longer has the changes.
            StoreError: the store is unreachable.
        """
        while True:
            if self._source is None:
                self._source = self._backend.watch(self._watched, after=self._reached)
            try:
                change = await anext(self._source)
            except StopAsyncIteration:
                await self.close()
                raise StoreError("the watch has ended", retryable=True) from None
            except BaseException:
                await self.close()
                raise
            if change.revision > self._latest:
                self._reached, self._latest, self._seen = change.revision - 1, change.revision, set()
            if change.revision == self._latest and change.key not in self._seen:
                self._seen.add(change.key)
                return change

    async def close(self) -> None:
        """Close the watch of the backend."""
        source, self._source = self._source, None
        if isinstance(source, ItemWatch) and source.reached > self._latest:
            # Continue after this later revision: the store may drop the history since the last change before the next
            # watch starts.
            self._reached = self._latest = source.reached
            self._seen = set()
        if source is not None:
            await source.aclose()


@dataclass(slots=True)
class _Wait:
    """The wait of a task for the next change.

    Attributes:
        cancelling: `task.cancelling()` before the wait.
        ended: a future that is done when the wait has ended.
        is_left: True if the block has ended and has cancelled the task.
    """

    task: asyncio.Task[Any]
    cancelling: int
    ended: asyncio.Future[None]
    is_left: bool = False


class Changes(Generic[T]):
    """The changes of a key or prefix: an asynchronous context manager, and an iterator inside.

    Each change is returned once, in the order of revisions. The end of the block ends the iteration, even if another
    task iterates.
    """

    def __init__(self, backend: StoreBackend, watched: str, kind: Any, after: int | None) -> None:
        self._backend = backend
        self._watched = watched
        self._kind = kind
        self._after = after
        self._changes: ItemChanges | None = None
        self._is_left = False
        self._wait: _Wait | None = None

    async def __aenter__(self) -> Self:
        after = self._after
        if after is None:
            after = await finish(f"watch of {self._watched!r}", self._revision)
        self._changes = ItemChanges(self._backend, self._watched, after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_left = True
        if self._wait is not None:
            # Another task waits: cancel it, and let it close the watch of the backend.
            self._wait.is_left = True
            self._wait.task.cancel()
            await asyncio.shield(self._wait.ended)
        if self._changes is not None:
            await self._changes.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change[T]:
        """Return the next change. After an error the next call continues.

        Raises:
            CompactedError: the store no longer has the changes.
            StoreError: the store has been unreachable for 5 s.
            DecodeError: the value of a change cannot be decoded to the type; the next call skips this change.
        """
        changes = self._changes
        if changes is None:
            raise RuntimeError("a watch is entered by `async with` first")
        if self._is_left:
            raise StopAsyncIteration
        if self._wait is not None:
            raise RuntimeError("another task iterates over this watch; open a separate watch for each task")
        task = asyncio.current_task()
        assert task is not None
        wait = self._wait = _Wait(task, task.cancelling(), asyncio.get_running_loop().create_future())
        try:
            change = await self._next(changes)
        except asyncio.CancelledError:
            if wait.is_left and task.uncancel() <= wait.cancelling:
                raise StopAsyncIteration from None
            raise
        finally:
            self._wait = None
            wait.ended.set_result(None)
        item = None if change.item is None else decode_item(change.item, self._kind)
        return Change("deleted" if item is None else "put", change.key, item, change.revision)

    async def _next(self, changes: ItemChanges) -> ItemChange:
        """Return the next change; wait during an outage of the store, up to a limit."""
        wait = pauses()
        clock = asyncio.get_running_loop().time
        away_since: float | None = None
        while True:
            begun = clock()
            try:
                return await changes.next()
            except StoreError as error:
                if not error.retryable:
                    raise
                if away_since is not None and clock() - begun > PATIENCE_SECONDS:
                    # A quiet watch does not show whether the store has answered since. A read does.
                    await finish(f"watch of {self._watched!r}", self._revision)
                    away_since, wait = None, pauses()
                away_since = clock() if away_since is None else away_since
                if clock() - away_since > PATIENCE_SECONDS:
                    raise
                await asyncio.sleep(wait())

    async def _revision(self) -> int:
        """Return the present revision of the store, by a request that needs only the right to these keys."""
        if not self._watched or self._watched.endswith("/"):
            return (await self._backend.list(self._watched, limit=1)).revision
        return (await self._backend.transact([Unchanged(self._watched, 0)], [])).revision

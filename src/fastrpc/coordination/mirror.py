"""A local copy of the values below a prefix, which follows changes of the store."""

import asyncio
import contextvars
import logging
from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from fastrpc.cancelling import cancelled
from fastrpc.coordination.changes import ItemChanges
from fastrpc.coordination.values import decode_value
from fastrpc.coordination.verbs import finish
from fastrpc.errors import DecodeError, StoreError
from fastrpc.hosted.verbs import pauses
from fastrpc.rpc.json_values import loggable
from fastrpc.stores.base import Item, StoreBackend

__all__ = ["Mirror"]

logger = logging.getLogger("fastrpc.store")

T = TypeVar("T")

#: Most items of one request.
_PAGE_ITEMS: Final = 1000


class Mirror(Mapping[str, T]):
    """The values of a prefix by key: an asynchronous context manager, and a mapping inside.

    While the store is unreachable, all values stay. If a new value cannot be decoded, the last good value stays.

    Attributes:
        revision: the revision of the latest change in the mirror.
        error: the reason why the mirror may be outdated, such as an unreachable store; None while it is current.
    """

    def __init__(self, backend: StoreBackend, prefix: str, kind: Any) -> None:
        self._backend = backend
        self._prefix = prefix
        self._kind = kind
        self._values: dict[str, T] = {}
        # The revision of each accepted item.
        self._revisions: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self.revision = 0
        self.error: StoreError | None = None

    def __getitem__(self, key: str) -> T:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    # The views are copies, since the values may change during an iteration, and at any time for other threads.

    def items(self) -> ItemsView[str, T]:
        return self._values.copy().items()

    def values(self) -> ValuesView[T]:
        return self._values.copy().values()

    async def __aenter__(self) -> Self:
        await self._take_all()
        # The context is empty, since the task runs longer than the caller's deadline.
        self._task = asyncio.get_running_loop().create_task(self._keep(), context=contextvars.Context())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            await cancelled([self._task])
            if not self._task.cancelled():
                self._task.result()

    async def _keep(self) -> None:
        wait = pauses()
        is_whole = True
        while True:
            try:
                if not is_whole:
                    await self._take_all()
                    is_whole = True
                if self.error is not None:
                    logger.info("the mirror of %r is current again", self._prefix)
                self.error, wait = None, pauses()
                await self._follow()
            except StoreError as error:
                if self.error is None:
                    logger.warning("the mirror of %r keeps its values: %s", self._prefix, error)
                self.error, is_whole = error, False
                await asyncio.sleep(wait())

    async def _follow(self) -> None:
        changes = ItemChanges(self._backend, self._prefix, self.revision)
        try:
            while True:
                change = await changes.next()
                if change.revision <= self._revisions.get(change.key, 0):
                    # The mirror already has a newer item.
                    continue
                if change.item is not None:
                    self._take(change.item)
                else:
                    self._drop(change.key)
                self.revision = max(self.revision, change.revision)
        finally:
            await changes.close()

    async def _take_all(self) -> None:
        """Read all present items, and drop the others."""
        revision: int | None = None
        present: set[str] = set()
        after = ""
        while True:
            work = partial(self._backend.list, self._prefix, limit=_PAGE_ITEMS, after=after)
            page = await finish(f"mirror of {self._prefix!r}", work)
            # Use the revision of the first page, so that changes between two pages are not missed.
            revision = page.revision if revision is None else revision
            for item in page.items:
                present.add(item.key)
                self._take(item)
            if not page.is_cut:
                break
            after = page.items[-1].key
        for key in self._revisions.keys() - present:
            self._drop(key)
        self.revision = revision

    def _take(self, item: Item[bytes]) -> None:
        if item.revision == self._revisions.get(item.key):
            return
        self._revisions[item.key] = item.revision
        try:
            self._values[item.key] = decode_value(item.key, item.value, self._kind)
        except DecodeError as error:
            logger.warning("the mirror keeps the last good value of %r: %s", item.key, loggable(error))

    def _drop(self, key: str) -> None:
        self._revisions.pop(key, None)
        self._values.pop(key, None)

"""Settings that follow a key. The last good value stays if the store is unreachable or a bad value is written."""

import asyncio
import contextvars
import inspect
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from fastrpc.cancelling import cancelled
from fastrpc.coordination.snapshot_file import SnapshotFile
from fastrpc.coordination.unknown_fields import unknown_fields
from fastrpc.coordination.values import decode_value
from fastrpc.coordination.verbs import finish
from fastrpc.errors import CompactedError, DecodeError, StoreError
from fastrpc.gauges import count
from fastrpc.hosted.verbs import pauses
from fastrpc.peers.outcomes import is_away
from fastrpc.rpc.json_values import loggable
from fastrpc.status import Status
from fastrpc.stores.base import Item, StoreBackend, check_key
from fastrpc.user_code import contained

__all__ = ["Following"]

logger = logging.getLogger("fastrpc.store")

T = TypeVar("T")


class Following(Generic[T]):
    """The last good value of a key, as an asynchronous context manager.

    A value is decoded strictly, so unknown fields are refused; then `check` may refuse it by raising any exception. A
    refused or deleted value changes only `error`. If the store is unreachable or has no good value at the start, the
    value of the cache file is used, else the default. Without both, entering raises StoreError.

    Args:
        default: the value if there is no other value; Ellipsis means that a value is required.
        cache_file: a file that keeps the last good value, for a start without the store.

    Raises:
        TypeError: `check` is an `async def` function.

    Attributes:
        value: the last good value.
        revision: the revision of `value`; 0 for the value of the cache file and for the default.
        error: the reason why `value` may not be the newest value; None if it is.
    """

    value: T
    revision = 0
    error: Exception | None = None

    def __init__(
        self,
        backend: StoreBackend,
        key: str,
        kind: type[T] | Any,
        *,
        default: Any = ...,
        check: Callable[[T], object] | None = None,
        cache_file: str | os.PathLike[str] | None = None,
    ) -> None:
        check_key(key)
        # `check` may be an object whose `__call__` is `async def`.
        if any(map(inspect.iscoroutinefunction, (check, type(check).__call__))):
            raise TypeError(
                "check is an async def function, which refuses nothing; write a plain one: def check(value)"
            )
        self._backend = backend
        self._key = key
        self._kind = kind
        self._default = default
        self._check = check
        self._file = None if cache_file is None else SnapshotFile(Path(cache_file))
        # `_judged`: the revision of the latest item that was checked. `_refusal`: why that item was refused, or None.
        self._judged = 0
        self._refusal: Exception | None = None
        # Each new good value sets this event and replaces it by a new one.
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def __aenter__(self) -> Self:
        item = None
        count("settings_rejected", self._key, times=0)
        try:
            item = await finish(f"follow of {self._key!r}", lambda: self._backend.get(self._key))
            if item is not None and self._take(item):
                await self._keep(item)
        except StoreError as error:
            if not is_away(error):
                raise
            self._note(error)
        if not self.revision:
            self._begin_without(item)
        # The context is empty, so that the deadline of this call does not apply to the task.
        self._task = asyncio.get_running_loop().create_task(
            self._keep_following(), context=contextvars.Context()
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._task is not None:
            await cancelled([self._task])
        self._is_closed = True
        self._changed.set()

    def changes(self) -> AsyncGenerator[T, None]:
        """Yield each new good value; a slow reader gets only the latest. Closing the store ends the iteration."""
        return self._changes(self._changed)

    async def _changes(self, changed: asyncio.Event) -> AsyncGenerator[T, None]:
        while True:
            await changed.wait()
            if self._is_closed:
                return
            changed = self._changed
            yield self.value

    def _begin_without(self, item: Item[bytes] | None) -> None:
        """Start with the value of the cache file or the default."""
        if self.error is not None and self._file is not None:
            try:
                kept = self._file.read(lambda file: file.read())
                if kept is not None:
                    self.value = self._decoded(kept)
                    return
            except Exception as error:
                logger.warning("%r: the cache file cannot be used: %s", self._key, type(error).__name__)
        if self._default is ...:
            text = f"the setting {self._key!r} has no {'good ' if item else ''}value"
            status = Status.UNAVAILABLE if self.error is not None else Status.NOT_FOUND
            raise StoreError(text, status=status, processed="no") from self.error
        self.value = self._default

    async def _keep_following(self) -> None:
        oldest = 0
        pause = pauses()
        while True:
            try:
                item = await finish(f"follow of {self._key!r}", lambda: self._backend.get(self._key))
                if self._take(item):
                    await self._keep(item)
                await self._watch(item, max(oldest, 0 if item is None else item.revision))
            except CompactedError as error:
                # Read the key again below, and watch from this revision on, so that no change is missed.
                oldest = error.oldest
            except Exception as error:
                self._note(error)
                await asyncio.sleep(pause())
                continue
            pause = pauses()

    async def _watch(self, item: Item[bytes] | None, after: int) -> None:
        async with aclosing(self._backend.watch(self._key, after=after)) as changes:
            async for change in changes:
                if item is None:
                    # Read the key: this change may be older than the read that found no key.
                    item = await finish(f"follow of {self._key!r}", lambda: self._backend.get(self._key))
                elif change.revision > item.revision:
                    item = change.item
                else:
                    continue
                if self._take(item):
                    await self._keep(item)

    def _take(self, item: Item[bytes] | None) -> bool:
        """Check an item; return whether it is a new good value."""
        if item is None:
            if self._judged:
                self._judged = 0
                self._refuse("was deleted", StoreError("the setting was deleted", status=Status.NOT_FOUND))
            elif isinstance(self.error, StoreError) and is_away(self.error):
                self.error = None
            return False
        if item.revision == self._judged:
            self.error = self._refusal
            return False
        self._judged, self._refusal = item.revision, None
        try:
            value = self._decoded(item.value)
        except Exception as error:
            self._refuse(f"is refused: {loggable(error)}", error)
            return False
        self.value, self.revision, self.error = value, item.revision, None
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return True

    def _decoded(self, encoded: bytes) -> T:
        value: T = decode_value(self._key, encoded, self._kind)
        if self._kind is not bytes and (unknown := unknown_fields(encoded, self._kind)):
            raise DecodeError(f"the value of {self._key!r} has an unknown field at `{unknown[0]}`")
        if self._check is not None:
            with contained("the check of a setting"):
                judged = self._check(value)
            if inspect.iscoroutine(judged):
                judged.close()
                raise TypeError("check returned a coroutine; write a plain function: def check(value)")
        return value

    def _refuse(self, text: str, error: Exception) -> None:
        self.error = self._refusal = error
        count("settings_rejected", self._key)
        logger.warning("the setting %r %s; the last good value is kept", self._key, text)

    def _note(self, error: Exception) -> None:
        if self.error is None or not isinstance(self.error, StoreError):
            logger.warning("the setting %r cannot be followed for now: %s", self._key, error)
        self.error = error

    async def _keep(self, item: Item[bytes] | None) -> None:
        if self._file is not None and item is not None:
            await asyncio.to_thread(self._file.write, [item.value], item.revision)

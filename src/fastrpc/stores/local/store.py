"""A store in this process with one revision for all keys, in memory or with a journal, for one event loop."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from fastrpc.errors import StoreError
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
    Journal,
    Saved,
    StoreLimits,
    Transacted,
    Unchanged,
    Write,
    check_key,
    check_lease_seconds,
    check_outcome,
    check_page,
    check_transaction,
    check_watched,
)
from fastrpc.stores.expiring import keep_expiring
from fastrpc.stores.local.commits import Commits
from fastrpc.stores.local.content import Content
from fastrpc.stores.local.history import History, change_size, is_watched
from fastrpc.stores.local.items import Items, full
from fastrpc.stores.local.leases import Leases
from fastrpc.stores.local.observing import StoreObserver
from fastrpc.stores.local.uncommitted import HistoryJournal, Uncommitted

__all__ = ["LocalStore"]

T = TypeVar("T")

#: Most bytes of the changes that a watcher gets in one step.
_CHANGED_BYTES: Final = 1024 * 1024


class LocalStore:
    """A store that keeps its items in memory. With a journal it answers writes after their commit.

    All writes that arrive during a commit form the next commit. If the journal is full, the writes of a commit are
    refused, and the store continues. Any other failed commit stops the store: later calls raise the StoreError of the
    commit until another store opens the journal.

    Args:
        journal: None keeps nothing across restarts.
        clock: returns an instant in seconds that never decreases.
        most_items: the most items, and the most leases; more are refused.
        most_bytes: the most bytes of keys and values together; more are refused.
        first_revision: the revision of the empty store without a journal; the history starts there.
        on_failed: called with the error of the commit that stopped the store.
    """

    limits: Final = StoreLimits()

    def __init__(
        self,
        journal: Journal | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_items: int = 1_000_000,
        most_bytes: int = 1024 * 1024 * 1024,
        first_revision: int = 0,
        on_failed: Callable[[StoreError], None] = lambda error: None,
    ) -> None:
        items, leases = Items(most_items, most_bytes), Leases(clock)
        #: The present state. Pages, gauges and the tree of Deimos read it.
        self.content = Content(items, leases, most_items, first_revision, self._note)
        self._due_changed = asyncio.Event()
        self._history = History(first_revision)
        # None without a journal: changes are added to the history immediately.
        self._commits: Commits[Uncommitted, Saved] | None = None
        if journal is not None:
            kept = HistoryJournal(journal, self._history)
            self._commits = Commits(
                kept, "fastrpc store", keep=self._keep, undo=self._undo, fail=self._note_failure
            )
        self._expiring: asyncio.Task[None] | None = None
        self._on_failed = on_failed
        self._ended: StoreError | None = StoreError("the store is closed", processed="no")

    async def __aenter__(self) -> Self:
        if self._commits is not None:
            saved = await self._commits.open()
            self._history.restore(saved.history, saved.compacted, saved.revision)
            self.content.restore(saved)
        self._ended = None
        self._expiring = asyncio.create_task(keep_expiring(self.content.expire, self._due_changed))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        closing = None
        try:
            if self._expiring is not None:
                self._expiring.cancel()
                await asyncio.wait([self._expiring])
            if self._commits is not None:
                await self._commits.finish()
        finally:
            if self._ended is None:
                self._ended = StoreError("the store is closed", processed="no")
            self._history.end()
            if self._commits is not None:
                closing = self._commits.close()
        if closing is not None:
            await closing

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        """Return the item of a key; `stale` has no effect here."""
        check_key(key)
        # This inlines `_read`, since reads of one key are the most frequent requests.
        while True:
            found = self.content.items.get(key)
            if await self.settled():
                return found

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`; `stale` has no effect here."""
        check_page(prefix, limit)
        return await self._read(lambda: self.content.page(prefix, limit, after))

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        """Write an item and return its revision.

        Raises:
            StoreConflictError: the key does not have the expected revision, where 0 means that it must not exist.
            StoreError: NOT_FOUND: the lease has ended; RESOURCE_EXHAUSTED: the store is full.
        """
        return (await self._expecting(key, expect, Write(key, value, lease))).revision

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it existed. StoreConflictError: the key does not have the expected revision."""
        was_there = key in self.content.items
        await self._expecting(key, expect, Deletion(key))
        return was_there

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        """Execute all operations if all keys have the expected revisions, otherwise none."""
        check_transaction(when, do)
        while True:
            self._check_open()
            present = tuple(self.content.items.get(step.key) for step in when)
            revisions = [0 if item is None else item.revision for item in present]
            if revisions != [step.revision for step in when]:
                outcome = Transacted(False, self.content.revision, present)
            else:
                self.alter(do)
                outcome = Transacted(True, self.content.revision)
            if await self.settled():
                return outcome
            if outcome.succeeded and do:
                raise _full_disk()

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        """Yield each change of a key or prefix in order, after a revision or from now on.

        Raises:
            CompactedError: the history starts after the revision, or ends before it.
            StoreError: the store has stopped.
        """
        check_watched(watched)
        return self._watch(watched, self.revision if after is None else after)

    async def _watch(self, watched: str, reached: int) -> AsyncGenerator[ItemChange, None]:
        while True:
            changes, reached = await self.next_changes(watched, reached)
            for change in changes:
                yield change

    async def next_changes(
        self,
        watched: str,
        reached: int,
        seconds: float | None = None,
        end: asyncio.Future[None] | None = None,
    ) -> tuple[Sequence[ItemChange], int]:
        """Wait for changes after a revision; return some of them, in whole revisions, and the revision that they reach.

        After `seconds` without a change, or once `end` is done, return no changes and the latest revision. A long wait
        may end a second early.

        Raises:
            CompactedError, StoreError: see `watch`.
        """
        while True:
            self._check_open()
            changes = self._history.after(reached, self.content.revision)
            if not changes:
                # Nothing has changed after `reached`, so the history may be compacted during the wait.
                before, has_changed = await self._history.changed(watched, seconds, end)
                reached = max(reached, before)
                if has_changed:
                    continue
                return (), reached
            found = []
            size = 0
            for change in changes:
                if size > _CHANGED_BYTES and change.revision != reached:
                    break
                reached = change.revision
                if is_watched(watched, change.key):
                    found.append(change)
                    size += change_size(change)
            if found:
                return found, reached

    async def lease(self, seconds: float) -> str:
        """Create a lease. After `seconds` without `renew` it ends, and its items are removed."""
        check_lease_seconds(seconds)
        name = self.add_lease(seconds)
        if not await self.settled():
            raise _full_disk()
        return name

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""
        self._check_open()
        while self.content.leases.renew(lease):
            if await self.settled():
                return True
        return False

    async def revoke(self, lease: str) -> bool:
        """End a lease now and remove its items; return whether the lease existed."""
        self._check_open()
        if lease not in self.content.leases:
            return False
        self.content.end_lease(lease)
        if not await self.settled():
            raise _full_disk()
        return True

    async def saved(self) -> Saved:
        """Return all items and leases of one moment, without history."""
        return await self._read(self.content.saved)

    def figures(self) -> dict[str, int]:
        """Return the numbers of items, leases and other figures. Bytes include keys and values."""
        return {
            "revision": self.content.revision,
            "items": len(self.content.items),
            "bytes": self.content.items.size,
            "leases": len(self.content.leases),
            "watchers": self._history.watchers,
        }

    # For the tree of Deimos, whose requests read and write in one step; `settled` reports whether the step is kept

    def observe(self, observer: StoreObserver | None) -> Sequence[ItemChange]:
        """Notify an observer of all later changes; return the history. RuntimeError: the store has an observer."""
        if observer is not None and self.content.observer is not None:
            raise RuntimeError("the store has an observer already")
        self.content.observer = observer
        self._history.observer = observer
        return self._history.after(self._history.compacted, self.content.revision)

    def add_lease(self, seconds: float, prefix: str = "") -> str:
        """Create a lease of any length. Its name starts with the prefix."""
        self._check_open()
        name = self.content.add_lease(seconds, prefix)
        self._due_changed.set()
        return name

    def alter(self, do: Sequence[Write | Deletion], *, over: Collection[str] = ()) -> None:
        """Execute any number of operations on different keys; then end leases and delete their items.

        Raises:
            StoreError: for the reasons of `put`; no operation was executed.
        """
        self._check_open()
        writes = [step for step in do if isinstance(step, Write)]
        self.content.check(writes)
        self._check_disk(writes)
        self.content.alter(do, over)

    @property
    def revision(self) -> int:
        """The revision of the latest committed change."""
        return self._history.latest

    async def _read(self, look: Callable[[], T]) -> T:
        """Return the result of a read once all that it has read is committed. Repeat it if a commit was undone."""
        while True:
            found = look()
            if await self.settled():
                return found

    async def _expecting(self, key: str, expect: int | None, step: Write | Deletion) -> Transacted:
        outcome = await self.transact([] if expect is None else [Unchanged(key, expect)], [step])
        return check_outcome(outcome, key, expect)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended.__class__(
                self._ended.message, status=self._ended.status, processed=self._ended.processed
            )

    def _check_disk(self, writes: Sequence[Write]) -> None:
        if self._commits is None or not writes:
            return
        try:
            is_full = self._commits.is_full(sum(len(step.key) + len(step.value) for step in writes))
        except OSError as error:
            raise StoreError(f"the disk of the store does not answer: {error}", processed="no") from error
        if is_full:
            raise _full_disk()

    def _undo(self, lost: Sequence[Uncommitted]) -> None:
        self.content.undo(lost, self.revision)
        self._due_changed.set()

    def _note_failure(self, error: Exception) -> None:
        self._ended = ended = StoreError(f"the store cannot be written: {error}")
        self._history.end()
        self._on_failed(ended)

    def _keep(self, changes: Sequence[Uncommitted]) -> None:
        self._history.add([one.change for one in changes if isinstance(one.change, ItemChange)])

    def _note(self, changes: Sequence[Uncommitted]) -> None:
        """Add changes to the next commit, or without a journal directly to the history."""
        if self._commits is None:
            self._keep(changes)
        else:
            self._commits.add(changes)

    async def settled(self) -> bool:
        """Wait for the commit of all changes so far. Return False if they were undone because the journal is full."""
        commits = self._commits
        is_kept = None if commits is None or not commits.is_waiting else await commits.settled()
        if not is_kept:
            # Do not check this after a kept change, which must not be reported as lost, even if the store was closed.
            self._check_open()
        return is_kept is not False


def _full_disk() -> StoreError:
    return full("the disk of the store is full")

"""A store of this process with one revision for all keys, in memory alone or with a journal, for one event loop."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import (
    Deletion,
    Item,
    ItemChange,
    ItemPage,
    Journal,
    LeaseChange,
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
from fastrpc.stores.local.commits import Commits, Uncommitted
from fastrpc.stores.local.history import History, change_size, is_watched
from fastrpc.stores.local.items import Items, full
from fastrpc.stores.local.leases import Leases
from fastrpc.stores.local.observing import Creation, StoreObserver

__all__ = ["LocalStore"]

T = TypeVar("T")

#: Changes that a watcher gets at once, in bytes.
_CHANGED_BYTES: Final = 1024 * 1024


class LocalStore:
    """Keeps items in memory; with a journal, answers after the commit.

    All writes that arrive during a commit form the next one. If the journal has no room for a commit, its writes are
    refused and the rest goes on. Any other failed commit ends the store: later calls raise its StoreError until another
    one opens the journal.

    Args:
        journal: None keeps nothing across restarts.
        clock: returns an instant in seconds that never decreases.
        most_items: and as many leases; more are refused.
        most_bytes: of keys and values together; more are refused.
        first_revision: that of the empty store without a journal; its history begins there.
        on_failed: called with the error of the commit that ended the store.
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
        self._most_leases = most_items
        self._items = Items(most_items, most_bytes)
        self._revision = first_revision
        self._leases = Leases(clock)
        self._due_changed = asyncio.Event()
        self._history = History(first_revision)
        # None: without a journal changes are history at once.
        self._commits = (
            None
            if journal is None
            else Commits(journal, self._history, undo=self._undo, fail=self._note_failure)
        )
        self._observer: StoreObserver | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._on_failed = on_failed
        self._ended: StoreError | None = StoreError("the store is not open", processed="no")

    async def __aenter__(self) -> Self:
        if self._commits is not None:
            self._take(await self._commits.open())
        self._ended = None
        self._expiring = asyncio.create_task(self._keep_expiring())
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
        """Return the item of a key; `stale` changes nothing here."""
        check_key(key)
        return await self._read(lambda: self._items.get(key))

    async def list(
        self, prefix: str = "", *, limit: int = 1000, after: str = "", stale: bool = False
    ) -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`; `stale` changes nothing here."""
        check_page(prefix, limit)
        return await self._read(lambda: self._page(prefix, limit, after))

    async def put(
        self, key: str, value: bytes, *, expect: int | None = None, lease: str | None = None
    ) -> int:
        """Write an item and return its revision.

        Raises:
            StoreConflictError: the key does not have the expected revision; 0: it must not exist.
            StoreError: NOT_FOUND: the lease has ended; RESOURCE_EXHAUSTED: the store is full.
        """
        return (await self._expecting(key, expect, Write(key, value, lease))).revision

    async def delete(self, key: str, *, expect: int | None = None) -> bool:
        """Remove a key; return whether it was there. StoreConflictError as in `put`."""
        was_there = key in self._items
        await self._expecting(key, expect, Deletion(key))
        return was_there

    async def transact(self, when: Sequence[Unchanged], do: Sequence[Write | Deletion]) -> Transacted:
        """Do all operations if all keys have the compared revisions, else none of them."""
        check_transaction(when, do)
        while True:
            self._check_open()
            present = tuple(self._items.get(step.key) for step in when)
            revisions = [0 if item is None else item.revision for item in present]
            if revisions != [step.revision for step in when]:
                outcome = Transacted(False, self._revision, present)
            else:
                self.alter(do)
                outcome = Transacted(True, self._revision)
            if await self.settled():
                return outcome
            if outcome.succeeded and do:
                raise _full_disk()

    def watch(self, watched: str, *, after: int | None = None) -> AsyncGenerator[ItemChange, None]:
        """Return each change of a key, or of all keys of a prefix, in order: those after a revision, or from now on.

        Raises:
            CompactedError: the history does not reach back, or not yet up, to the revision.
            StoreError: the store ended.
        """
        check_watched(watched)
        return self._watch(watched, self.revision if after is None else after)

    async def _watch(self, watched: str, reached: int) -> AsyncGenerator[ItemChange, None]:
        while True:
            changes, reached = await self.next_changes(watched, reached)
            for change in changes:
                yield change

    async def next_changes(
        self, watched: str, reached: int, seconds: float | None = None
    ) -> tuple[Sequence[ItemChange], int]:
        """Wait for changes after a revision; return some of them, whole revisions, and the revision that they reach.

        After so many seconds without one it returns no change, and the latest revision.

        Raises:
            CompactedError, StoreError: as in `watch`.
        """
        while True:
            self._check_open()
            changes = self._history.after(reached, self._revision)
            if not changes:
                # The history between may be compacted meanwhile: it has no change of these keys.
                before = await self._history.changed(watched, seconds)
                if before is None:
                    return (), max(reached, self.revision)
                reached = max(reached, before)
                continue
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
        """Make a lease; without `renew` for so long it ends, together with its items."""
        check_lease_seconds(seconds)
        name = self.add_lease(seconds)
        if not await self.settled():
            raise _full_disk()
        return name

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""
        self._check_open()
        while self._leases.renew(lease):
            if await self.settled():
                return True
        return False

    async def revoke(self, lease: str) -> bool:
        """End a lease and its items now; return whether it was alive."""
        self._check_open()
        if lease not in self._leases:
            return False
        self._end_lease(lease)
        if not await self.settled():
            raise _full_disk()
        return True

    async def saved(self) -> Saved:
        """Return all items and leases of one moment, without history."""
        return await self._read(self._present)

    def keys_of(self, lease: str) -> Sequence[str]:
        """Return the keys of the items of a lease."""
        return sorted(self._leases.keys(lease)) if lease in self._leases else ()

    # The state for pages and gauges: of this moment, changes whose commit is under way included

    def figures(self) -> dict[str, int]:
        """Return how much the store holds; bytes are those of keys and values."""
        return {
            "revision": self._revision,
            "items": len(self._items),
            "bytes": self._items.size,
            "leases": len(self._leases),
            "watchers": self._history.watchers,
        }

    def leases(self) -> Iterator[tuple[str, float, float]]:
        """Yield name and seconds of each lease, and the seconds until it ends."""
        return self._leases.all()

    def present(self, prefix: str = "") -> Iterator[Item[bytes]]:
        """Yield the items of a prefix in the order of their keys."""
        return self._items.below(prefix)

    # For the tree of Deimos, whose requests read and write in one step; `settled` tells whether that is kept

    @property
    def next_revision(self) -> int:
        """The revision of the next change."""
        return self._revision + 1

    def observe(self, observer: StoreObserver | None) -> Sequence[ItemChange]:
        """Tell an observer of each change from now on; return the history. RuntimeError: there is another one."""
        if observer is not None and self._observer is not None:
            raise RuntimeError("the store has an observer already")
        self._observer = observer
        self._history.observer = observer
        return self._history.after(self._history.compacted, self._revision)

    def item(self, key: str) -> Item[bytes] | None:
        """Return the item of a key."""
        return self._items.get(key)

    def first_item(self, prefix: str, start: str = "") -> Item[bytes] | None:
        """Return the first item of a prefix whose key is not before `start`."""
        return self._items.first(prefix, start)

    def seconds_left(self, lease: str) -> float:
        """Return the seconds until the end of a lease; 0 after it."""
        return self._leases.seconds_left(lease)

    def add_lease(self, seconds: float, prefix: str = "") -> str:
        """Make a lease, of any length; its name begins with a prefix."""
        self._check_open()
        if len(self._leases) >= self._most_leases:
            raise full(f"the store has {len(self._leases)} leases, the limit is {self._most_leases}")
        name = prefix + secrets.token_hex(8)
        self._leases.add(name, seconds)
        self._due_changed.set()
        self._note([Uncommitted(LeaseChange(name, seconds), None)])
        return name

    def alter(self, do: Sequence[Write | Deletion], *, over: Collection[str] = ()) -> None:
        """Do any number of operations on different keys, then end leases, whose items go.

        Raises:
            StoreError: as in `put`; nothing was done.
        """
        self._check_open()
        self._check_room([step for step in do if isinstance(step, Write)])
        self._apply(do)
        for lease in [one for one in over if one in self._leases]:
            self._end_lease(lease)

    @property
    def revision(self) -> int:
        """The revision of the latest committed change."""
        return self._history.latest

    def expire(self) -> float | None:
        """End the expired leases; return the seconds until the next may expire, None without leases."""
        for name in self._leases.expired():
            self._end_lease(name)
        return self._leases.until_next()

    async def _read(self, look: Callable[[], T]) -> T:
        """Return what a look at the items finds, once that is committed; look again if it was not kept."""
        while True:
            found = look()
            if await self.settled():
                return found

    def _page(self, prefix: str, limit: int, after: str) -> ItemPage:
        items = self._items.page(prefix, limit + 1, after)
        return ItemPage(items[:limit], self._revision, len(items) > limit)

    def _present(self) -> Saved:
        leases = tuple(LeaseChange(name, seconds) for name, seconds, _ in self._leases.all())
        return Saved(self._revision, self._revision, self._items.all(), leases)

    def _take(self, saved: Saved) -> None:
        """Begin with the content of the journal; its leases begin anew."""
        self._revision = saved.revision
        self._history.restore(saved.history, saved.compacted)
        for lease in saved.leases:
            if lease.seconds is not None:
                self._leases.add(lease.name, lease.seconds)
        self._items.restore(saved.items)
        for item in saved.items:
            if item.lease is not None:
                self._leases.keys(item.lease).add(item.key)

    async def _expecting(self, key: str, expect: int | None, step: Write | Deletion) -> Transacted:
        outcome = await self.transact([] if expect is None else [Unchanged(key, expect)], [step])
        return check_outcome(outcome, key, expect)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise self._ended.__class__(
                self._ended.message, status=self._ended.status, processed=self._ended.processed
            )

    def _check_room(self, writes: Sequence[Write]) -> None:
        for lease in {step.lease for step in writes if step.lease is not None}:
            if not self._leases.is_alive(lease):
                raise StoreError(f"there is no lease {lease!r}", status=Status.NOT_FOUND, processed="no")
        if not writes:
            return
        self._items.check_room(writes)
        written = sum(len(step.key) + len(step.value) for step in writes)
        try:
            is_full = self._commits is not None and self._commits.is_full(written)
        except OSError as error:
            raise StoreError(f"the disk of the store does not answer: {error}", processed="no") from error
        if is_full:
            raise _full_disk()

    def _apply(self, do: Sequence[Write | Deletion], *ended: Uncommitted) -> None:
        """Do operations under the next revision; it rises only if one of them changes anything."""
        revision = self._revision + 1
        changes = [
            self._replace(step, revision) for step in do if isinstance(step, Write) or step.key in self._items
        ]
        if changes:
            if self._observer is not None:
                self._observer.made(changes, is_end=bool(ended))
            self._revision = revision
        if changes or ended:
            self._note([*changes, *ended, *self._leases.end_emptied(changes)])

    def _replace(self, step: Write | Deletion, revision: int) -> Uncommitted:
        item = None
        if isinstance(step, Write):
            present = self._items.get(step.key)
            is_new = present is None or isinstance(step, Creation)
            created = revision if is_new or present is None else present.created
            item = Item(step.key, step.value, revision, step.lease, created)
        return Uncommitted(ItemChange(step.key, revision, item), self._set(step.key, item))

    def _set(self, key: str, item: Item[bytes] | None) -> Item[bytes] | None:
        """Put an item, or none, at a key; return the one before."""
        before = self._items.put(key, item)
        if before is not None and before.lease is not None and before.lease in self._leases:
            self._leases.keys(before.lease).discard(key)
        if item is not None and item.lease is not None:
            self._leases.keys(item.lease).add(key)
        return before

    def _undo(self, lost: Sequence[Uncommitted]) -> None:
        """Go back to the latest commit. Leases that had ended begin anew."""
        for one in reversed(lost):
            change, before = one.change, one.before
            if isinstance(change, ItemChange):
                assert before is None or isinstance(before, Item)
                self._set(change.key, before)
            elif change.seconds is not None:
                self._leases.remove(change.name)
            else:
                assert isinstance(before, int | float)
                self._leases.add(change.name, before)
        self._revision = self.revision
        self._due_changed.set()
        if self._observer is not None:
            self._observer.undone()

    def _note_failure(self, error: StoreError) -> None:
        self._ended = error
        self._history.end()
        self._on_failed(error)

    def _end_lease(self, name: str) -> None:
        seconds = self._leases.seconds(name)
        keys: Sequence[str] = self._leases.remove(name)
        if self._observer is not None:
            keys = self._observer.ending(name, keys)
        self._apply([Deletion(key) for key in keys], Uncommitted(LeaseChange(name, None), seconds))

    async def _keep_expiring(self) -> None:
        while True:
            self._due_changed.clear()
            left = self.expire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._due_changed.wait()

    def _note(self, changes: Iterable[Uncommitted]) -> None:
        """Hand changes to the next commit; without a journal they are history at once."""
        if self._commits is None:
            self._history.add([one.change for one in changes if isinstance(one.change, ItemChange)])
        else:
            self._commits.add(changes)

    async def settled(self) -> bool:
        """Return whether all changes so far are committed, once that is known; False: there is no room for them."""
        is_kept = None if self._commits is None else await self._commits.settled()
        if not is_kept:
            # A kept change must not be told as none, even if the store was closed since.
            self._check_open()
        return is_kept is not False


def _full_disk() -> StoreError:
    return full("the disk of the store is full")

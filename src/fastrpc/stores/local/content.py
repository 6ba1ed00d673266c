"""The content of a store: items and leases under one revision. Changes take effect immediately, before a commit."""

import secrets
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Deletion, Item, ItemChange, ItemPage, LeaseChange, Saved, Write
from fastrpc.stores.expiring import EXPIRED_AT_ONCE
from fastrpc.stores.local.items import Items, full
from fastrpc.stores.local.leases import Leases
from fastrpc.stores.local.observing import Creation, StoreObserver
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["Content"]


@dataclass(slots=True)
class Content:
    """The present state of a store, including changes that are not committed yet.

    Attributes:
        revision: the revision of the latest change.
        note: called with the changes of each step, in order.
    """

    items: Items
    leases: Leases
    most_leases: int
    revision: int
    note: Callable[[Sequence[Uncommitted]], None]
    observer: StoreObserver | None = None

    def page(self, prefix: str, limit: int, after: str) -> ItemPage:
        """Return the first items of a prefix whose keys sort after `after`."""
        # Start with the first key that sorts after `after`.
        start = f"{after}\0" if after else ""
        items = tuple(islice(self.items.below(prefix, start), limit + 1))
        return ItemPage(items[:limit], self.revision, len(items) > limit)

    def keys_of(self, lease: str) -> Sequence[str]:
        """Return the keys of the items of a lease."""
        return sorted(self.leases.keys(lease)) if lease in self.leases else ()

    def saved(self) -> Saved:
        """Return all items and leases, without history."""
        leases = tuple(LeaseChange(name, seconds) for name, seconds, _ in self.leases.all())
        return Saved(self.revision, self.revision, self.items.all(), leases)

    def restore(self, saved: Saved) -> None:
        """Load the content of a journal. Its leases start again."""
        self.revision = saved.revision
        for lease in saved.leases:
            if lease.seconds is not None:
                self.leases.add(lease.name, lease.seconds)
        self.items.restore(saved.items)
        for item in saved.items:
            if item.lease is not None:
                self.leases.keys(item.lease).add(item.key)

    def check(self, writes: Sequence[Write]) -> None:
        """Check that writes fit the limits, and that their leases exist.

        Raises:
            StoreError: NOT_FOUND: a lease has ended; RESOURCE_EXHAUSTED: a limit is exceeded.
        """
        for lease in {step.lease for step in writes if step.lease is not None}:
            if not self.leases.is_alive(lease):
                raise StoreError(f"there is no lease {lease!r}", status=Status.NOT_FOUND, processed="no")
        if writes:
            self.items.check_room(writes)

    def alter(self, do: Sequence[Write | Deletion], over: Collection[str]) -> None:
        """Execute checked operations, then end leases and delete their items."""
        self._apply(do)
        for lease in [one for one in over if one in self.leases]:
            self.end_lease(lease)

    def add_lease(self, seconds: float, prefix: str) -> str:
        """Create a lease of any length. Its name starts with the prefix.

        Raises:
            StoreError: RESOURCE_EXHAUSTED: there are too many leases.
        """
        if len(self.leases) >= self.most_leases:
            raise full(f"the store has {len(self.leases)} leases, the limit is {self.most_leases}")
        name = prefix + secrets.token_hex(8)
        self.leases.add(name, seconds)
        self.note([Uncommitted(LeaseChange(name, seconds), None)])
        return name

    def end_lease(self, name: str) -> None:
        """End an existing lease, and delete its items."""
        seconds = self.leases.seconds(name)
        keys: Sequence[str] = self.leases.remove(name)
        if self.observer is not None:
            keys = self.observer.ending(name, keys)
        self._apply([Deletion(key) for key in keys], Uncommitted(LeaseChange(name, None), seconds))

    def expire(self) -> float | None:
        """End at most `EXPIRED_AT_ONCE` expired leases; return the seconds until the next may expire, or None."""
        for name in islice(self.leases.expired(), EXPIRED_AT_ONCE):
            self.end_lease(name)
        return self.leases.until_next()

    def undo(self, lost: Sequence[Uncommitted], revision: int) -> None:
        """Undo lost changes and return to an earlier revision. Leases that the changes had ended start again."""
        for one in reversed(lost):
            change, before = one.change, one.before
            if isinstance(change, ItemChange):
                assert before is None or isinstance(before, Item)
                self._set(change.key, before)
            elif change.seconds is not None:
                self.leases.remove(change.name)
            else:
                assert isinstance(before, int | float)
                self.leases.add(change.name, before)
        self.revision = revision
        if self.observer is not None:
            self.observer.undone()

    def _apply(self, do: Iterable[Write | Deletion], *ended: Uncommitted) -> None:
        """Apply operations under the next revision. The revision stays the same if nothing changes."""
        revision = self.revision + 1
        changes = [
            self._replace(step, revision) for step in do if isinstance(step, Write) or step.key in self.items
        ]
        if changes:
            if self.observer is not None:
                self.observer.made(changes, is_end=bool(ended))
            self.revision = revision
        if changes or ended:
            self.note([*changes, *ended, *self.leases.end_emptied(changes)])

    def _replace(self, step: Write | Deletion, revision: int) -> Uncommitted:
        item = None
        if isinstance(step, Write):
            present = self.items.get(step.key)
            is_new = present is None or isinstance(step, Creation)
            created = revision if is_new or present is None else present.created
            item = Item(step.key, step.value, revision, step.lease, created)
        return Uncommitted(ItemChange(step.key, revision, item), self._set(step.key, item))

    def _set(self, key: str, item: Item[bytes] | None) -> Item[bytes] | None:
        """Set or remove the item of a key; return the previous item."""
        before = self.items.put(key, item)
        if before is not None and before.lease is not None and before.lease in self.leases:
            self.leases.keys(before.lease).discard(key)
        if item is not None and item.lease is not None:
            self.leases.keys(item.lease).add(key)
        return before

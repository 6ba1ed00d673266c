"""A store in memory with folders, for one event loop. Its items can be saved and restored one by one."""

import asyncio
import bisect
import heapq
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Folder, Item
from fastrpc.stores.expiring import EXPIRED_AT_ONCE

__all__ = ["MOST_BYTES", "MOST_ITEMS", "MemoryStore", "SavedItem"]

#: The most items of a store, and the most leases.
MOST_ITEMS = 100_000

#: The default limit of the bytes of all items of a store together: their folders, keys and values. If it is too low, a
#: registry refuses servers. If it is too high, strangers may fill the memory, where items occupy up to twice as much.
MOST_BYTES = 128 * 1024 * 1024


#: Most entries of removed leases in the heap of ends, beyond the number of present leases.
_DUES_KEPT = 1_000


class _Lease:
    def __init__(self, seconds: float, due: float) -> None:
        self.seconds = seconds
        self.due = due
        #: The items of the lease, which are removed with it.
        self.items: set[tuple[str, str]] = set()
        #: All items that were written under the lease, even if another lease has taken them over.
        self.written: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True)
class SavedItem:
    """One item in the form that `save` yields and `restore` accepts."""

    folder: str
    key: str

    #: The value; None if the item was written under this lease and now belongs to another lease.
    value: bytes | None

    #: The lease of the item; None for a permanent item.
    lease: str | None

    #: The length of the lease in seconds.
    lease_seconds: float


class MemoryStore:
    """A store with items in folders. The owner has to call `expire`, which ends leases.

    Args:
        clock: returns an instant in seconds that never decreases.
        most_items: the most items in all folders together, and the most leases; more are refused.
        most_bytes: the most bytes of all items together; more are refused.
        on_change: called with the name of each folder that changes.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_items: int = MOST_ITEMS,
        most_bytes: int = MOST_BYTES,
        on_change: Callable[[str], None] | None = None,
    ) -> None:
        self._clock = clock
        self._on_change = on_change
        self._most_items = most_items
        self._most_bytes = most_bytes
        # Items by folder and key, in one dictionary, which `save` copies as a whole.
        self._items: dict[tuple[str, str], Item[bytes]] = {}
        self._bytes = 0
        # `_folders`: the sorted keys of each folder with items. `_lists`: the latest list of each folder, if requested.
        self._folders: dict[str, list[str]] = {}
        self._lists: dict[str, Folder] = {}
        self._revisions: dict[str, int] = {}
        self._leases: dict[str, _Lease] = {}
        # Leases that have lost an item: another lease has taken it over, or it was deleted.
        self._overtaken: set[str] = set()
        # A heap of instants at which leases may end, with one entry per lease. If a lease was renewed, its entry is put
        # back.
        self._dues: list[tuple[float, str]] = []
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        #: A number that rises with each change of an item.
        self.revision = 0

    async def get(self, folder: str, key: str) -> Item[bytes] | None:
        return self._items.get((folder, key))

    async def list(self, folder: str) -> Folder:
        return self._folder(folder)

    async def put(self, folder: str, key: str, value: bytes, *, lease: str | None = None) -> int:
        """Write an item; return its revision. StoreError: its lease has ended, or the store is full."""
        return self._put(folder, key, value, lease)

    async def delete(self, folder: str, key: str) -> bool:
        """Remove an item; return whether it existed."""
        return self._delete(folder, key)

    async def compare_and_set(self, folder: str, key: str, value: bytes, expected: int) -> bool:
        """Write an item if the key has the expected revision, where 0 means no item; return whether it was written."""
        item = self._items.get((folder, key))
        if (0 if item is None else item.revision) != expected:
            return False
        self._put(folder, key, value, None if item is None else item.lease)
        return True

    async def watch(self, folder: str, after: int = -1) -> AsyncGenerator[Folder, None]:
        """Yield the folder, then yield it after each change. Skip it while it has the revision `after`."""
        while True:
            found = self._folder(folder)
            if found.revision != after:
                after = found.revision
                yield found
                continue
            changed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(folder, set())
            waiting.add(changed)
            try:
                await changed
            finally:
                waiting.discard(changed)
                if not waiting and self._waiting.get(folder) is waiting:
                    del self._waiting[folder]

    async def lease(self, seconds: float) -> str:
        """Create a lease. After `seconds` without `renew` it ends, and its items are removed."""
        name = secrets.token_hex(8)
        self._add_lease(name, seconds, self._clock() + seconds)
        return name

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""
        found = self._alive(lease)
        if found is None:
            return False
        found.due = self._clock() + found.seconds
        return True

    async def revoke(self, lease: str) -> bool:
        """End a lease now and remove its items; return whether the lease existed."""
        if lease not in self._leases:
            return False
        self._end_lease(lease)
        if len(self._dues) > 2 * len(self._leases) + _DUES_KEPT:
            self._dues = [(one.due, name) for name, one in self._leases.items()]
            heapq.heapify(self._dues)
        return True

    def is_whole(self, lease: str) -> bool:
        """Return whether the lease exists, and all items that were written under it exist, under any lease."""
        found = self._alive(lease)
        return found is not None and all(place in self._items for place in found.written)

    def written_under(self, lease: str) -> set[str]:
        """Return the folders with items written under a lease; empty if the lease has ended."""
        found = self._leases.get(lease)
        return set() if found is None else {folder for folder, _ in found.written}

    def has_written(self, lease: str, folder: str, key: str) -> bool:
        """Return whether an item was written under an existing lease, even if another lease has taken it over."""
        found = self._leases.get(lease)
        return found is not None and (folder, key) in found.written

    def folders(self) -> dict[str, int]:
        """Return the number of items of each folder with items."""
        return {name: len(keys) for name, keys in sorted(self._folders.items())}

    def expire(self) -> float | None:
        """End at most `EXPIRED_AT_ONCE` expired leases; return the seconds until the next may expire, or None."""
        now = self._clock()
        for _ in range(EXPIRED_AT_ONCE):
            if not self._dues or self._dues[0][0] > now:
                break
            _, name = heapq.heappop(self._dues)
            lease = self._leases.get(name)
            if lease is None:
                continue
            if lease.due > now:
                heapq.heappush(self._dues, (lease.due, name))
                continue
            self._end_lease(name)
        return max(self._dues[0][0] - now, 0.0) if self._dues else None

    def _end_lease(self, name: str) -> None:
        """Remove a lease and its items."""
        for folder, key in self._leases.pop(name).items:
            self._delete(folder, key)
        self._overtaken.discard(name)

    def save(self) -> Iterator[SavedItem]:
        """Return an iterator of all items, for `restore`. Another thread may iterate while the store changes.

        The call itself only copies references. An item that changes during the iteration is saved in its old or its new
        state. As the revision changes, too, a caller that saves again after each change of the revision misses nothing.
        """
        return self._saved(list(self._items), list(self._overtaken))

    def restore(self, saved: SavedItem, grace_seconds: float) -> None:
        """Restore one item. Its lease starts again and lasts at least `grace_seconds`.

        Raises:
            StoreError: the store is full.
        """
        if saved.lease is not None and saved.lease not in self._leases:
            due = self._clock() + max(saved.lease_seconds, grace_seconds)
            self._add_lease(saved.lease, saved.lease_seconds, due)
        if saved.value is not None:
            self._put(saved.folder, saved.key, saved.value, saved.lease)
        elif saved.lease is not None:
            self._leases[saved.lease].written.add((saved.folder, saved.key))
            self._overtaken.add(saved.lease)

    def _folder(self, name: str) -> Folder:
        found = self._lists.get(name)
        if found is None:
            items = tuple(self._items[name, key] for key in self._folders.get(name, ()))
            size = sum(len(item.value) for item in items)
            found = Folder(self._revisions.get(name, 0), items, size)
            if items:
                # Cache the list, since after each change all watchers request it.
                self._lists[name] = found
        return found

    def _alive(self, lease: str) -> _Lease | None:
        found = self._leases.get(lease)
        return found if found is not None and found.due > self._clock() else None

    def _put(self, folder: str, key: str, value: bytes, lease: str | None) -> int:
        holder = None if lease is None else self._alive(lease)
        if lease is not None and holder is None:
            raise StoreError(f"there is no lease {lease!r}", status=Status.NOT_FOUND)
        before = self._items.get((folder, key))
        size = len(folder) + len(key) + len(value)
        size_before = 0 if before is None else len(folder) + len(key) + len(before.value)
        self._check_room(before, size - size_before)
        self._forget_lease(folder, before)
        if holder is not None:
            holder.items.add((folder, key))
            holder.written.add((folder, key))
        if before is None:
            bisect.insort(self._folders.setdefault(folder, []), key)
        self._bytes += size - size_before
        revision = self._note_change(folder)
        self._items[folder, key] = Item(key, value, revision, lease)
        return revision

    def _check_room(self, before: Item[bytes] | None, more_bytes: int) -> None:
        """Check that a write fits the limits. `before` is the item that it replaces, if any."""
        if before is None and len(self._items) >= self._most_items:
            raise StoreError(
                f"the store has {len(self._items)} items, the limit is {self._most_items}",
                status=Status.RESOURCE_EXHAUSTED,
            )
        if more_bytes > 0 and self._bytes + more_bytes > self._most_bytes:
            raise StoreError(
                f"the items of the store have {self._bytes} bytes and this one {more_bytes} more, "
                f"the limit is {self._most_bytes}",
                status=Status.RESOURCE_EXHAUSTED,
            )

    def _add_lease(self, name: str, seconds: float, due: float) -> None:
        if len(self._leases) >= self._most_items:
            raise StoreError(
                f"the store has {len(self._leases)} leases, the limit is {self._most_items}",
                status=Status.RESOURCE_EXHAUSTED,
            )
        self._leases[name] = _Lease(seconds, due)
        heapq.heappush(self._dues, (due, name))

    def _delete(self, folder: str, key: str) -> bool:
        item = self._items.pop((folder, key), None)
        if item is None:
            return False
        self._forget_lease(folder, item)
        self._bytes -= len(folder) + len(key) + len(item.value)
        self._note_change(folder)
        keys = self._folders[folder]
        del keys[bisect.bisect_left(keys, key)]
        if not keys:
            # An empty folder has the revision 0 again, so nothing has to be remembered.
            del self._folders[folder], self._revisions[folder]
        return True

    def _forget_lease(self, folder: str, item: Item[bytes] | None) -> None:
        if item is not None and item.lease is not None and item.lease in self._leases:
            self._leases[item.lease].items.discard((folder, item.key))
            self._overtaken.add(item.lease)

    def _note_change(self, folder: str) -> int:
        self.revision += 1
        self._revisions[folder] = self.revision
        self._lists.pop(folder, None)
        self._wake(folder)
        return self.revision

    def _wake(self, folder: str) -> None:
        for changed in self._waiting.pop(folder, ()):
            if not changed.done():
                changed.set_result(None)
        if self._on_change is not None:
            self._on_change(folder)

    def _saved(self, places: Sequence[tuple[str, str]], overtaken: Sequence[str]) -> Iterator[SavedItem]:
        for place in places:
            item = self._items.get(place)
            if item is None:
                continue
            lease = None if item.lease is None else self._leases.get(item.lease)
            if item.lease is None or lease is not None:
                seconds = 0.0 if lease is None else lease.seconds
                yield SavedItem(*place, item.value, item.lease, seconds)
        for name in overtaken:
            lease = self._leases.get(name)
            for folder, key in () if lease is None else lease.written - lease.items:
                yield SavedItem(folder, key, None, name, 0.0 if lease is None else lease.seconds)

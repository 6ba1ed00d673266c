"""A store in this process's memory, for one event loop; what it holds can be written out and read in again."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable

import msgspec

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Folder, Item

__all__ = ["MemoryStore"]

_FORMAT = 1


class _Lease:
    def __init__(self, seconds: float, due: float) -> None:
        self.seconds = seconds
        self.due = due
        #: What ends with it.
        self.items: set[tuple[str, str]] = set()
        #: What was ever written under it, even if another lease has taken it over since.
        self.written: set[tuple[str, str]] = set()


class _Saved(msgspec.Struct):
    """What `dump` writes."""

    format: int
    revision: int
    leases: dict[str, float]
    items: list[tuple[str, str, bytes, str | None]]
    #: What was written under a lease and is another one's now.
    taken_over: dict[str, list[tuple[str, str]]] = {}


class MemoryStore:
    """A `KeyValueStore`. Leases end when somebody calls `expire`, which says when to call it next.

    Args:
        clock: gives an instant in seconds that never goes back.
        most_items: in all folders together, and as many leases; more are refused.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, most_items: int = 100_000) -> None:
        self._clock = clock
        self._most_items = most_items
        self._count = 0
        self._folders: dict[str, dict[str, Item]] = {}
        self._revisions: dict[str, int] = {}
        self._leases: dict[str, _Lease] = {}
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        #: Grows with each change of an item.
        self.revision = 0

    async def get(self, folder: str, key: str) -> Item | None:
        return self._folders.get(folder, {}).get(key)

    async def list(self, folder: str) -> Folder:
        return self._folder(folder)

    async def put(self, folder: str, key: str, value: bytes, *, lease: str | None = None) -> int:
        return self._put(folder, key, value, lease)

    async def delete(self, folder: str, key: str) -> bool:
        return self._delete(folder, key)

    async def compare_and_set(self, folder: str, key: str, value: bytes, expected: int) -> bool:
        item = self._folders.get(folder, {}).get(key)
        if (0 if item is None else item.revision) != expected:
            return False
        self._put(folder, key, value, None if item is None else item.lease)
        return True

    async def watch(self, folder: str, after: int = -1) -> AsyncGenerator[Folder, None]:
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
        if len(self._leases) >= self._most_items:
            raise StoreError(
                f"the store has {len(self._leases)} leases, the limit is {self._most_items}",
                status=Status.RESOURCE_EXHAUSTED,
            )
        name = secrets.token_hex(8)
        self._leases[name] = _Lease(seconds, self._clock() + seconds)
        return name

    async def renew(self, lease: str) -> bool:
        found = self._alive(lease)
        if found is None:
            return False
        found.due = self._clock() + found.seconds
        return True

    async def revoke(self, lease: str) -> bool:
        found = self._leases.pop(lease, None)
        if found is None:
            return False
        for folder, key in found.items:
            self._delete(folder, key)
        return True

    def is_whole(self, lease: str) -> bool:
        """Whether the lease is alive and all that was written under it is there, no matter under which lease now."""
        found = self._alive(lease)
        return found is not None and all(key in self._folders.get(name, {}) for name, key in found.written)

    def folders(self) -> dict[str, int]:
        """Return how many items each folder has; those without are left out."""
        return {name: len(items) for name, items in sorted(self._folders.items())}

    def expire(self) -> float | None:
        """End the leases whose time is over; returns the seconds until the next may, None when there is none."""
        now = self._clock()
        for name in [name for name, lease in self._leases.items() if lease.due <= now]:
            for folder, key in self._leases.pop(name).items:
                self._delete(folder, key)
        dues = [lease.due for lease in self._leases.values()]
        return min(dues) - now if dues else None

    def dump(self) -> bytes:
        """Return all that is held, as JSON for `load`."""
        items = [
            (folder, item.key, item.value, item.lease)
            for folder, items in self._folders.items()
            for item in items.values()
        ]
        leases = {name: lease.seconds for name, lease in self._leases.items() if lease.written}
        taken_over = {
            name: sorted(lease.written - lease.items)
            for name, lease in self._leases.items()
            if lease.written != lease.items
        }
        return msgspec.json.encode(_Saved(_FORMAT, self.revision, leases, items, taken_over))

    def load(self, data: bytes, grace_seconds: float) -> None:
        """Replace all that is held by what `dump` wrote; every lease starts anew and lasts for the grace at least.

        Raises:
            StoreError: it is no dump of a known format, or cannot be held; the store is as it was.
        """
        try:
            saved = msgspec.json.decode(data, type=_Saved)
        except (msgspec.DecodeError, RecursionError) as error:
            raise StoreError(f"not the dump of a store: {error}") from error
        if saved.format != _FORMAT:
            raise StoreError(f"the dump has format {saved.format}, known is {_FORMAT}")
        restored = MemoryStore(clock=self._clock, most_items=self._most_items)
        restored.revision = max(self.revision, saved.revision)
        now = self._clock()
        for name, seconds in saved.leases.items():
            restored._leases[name] = _Lease(seconds, now + max(seconds, grace_seconds))
            restored._leases[name].written.update(saved.taken_over.get(name, ()))
        for folder, key, value, lease in saved.items:
            restored._put(folder, key, value, lease)
        self._count, self.revision = restored._count, restored.revision
        self._folders, self._revisions, self._leases = (
            restored._folders,
            restored._revisions,
            restored._leases,
        )
        for folder in list(self._waiting):
            self._wake(folder)

    def _folder(self, name: str) -> Folder:
        items = self._folders.get(name, {})
        return Folder(self._revisions.get(name, 0), tuple(items[key] for key in sorted(items)))

    def _alive(self, lease: str) -> _Lease | None:
        found = self._leases.get(lease)
        return found if found is not None and found.due > self._clock() else None

    def _put(self, folder: str, key: str, value: bytes, lease: str | None) -> int:
        holder = None if lease is None else self._alive(lease)
        if lease is not None and holder is None:
            raise StoreError(f"there is no lease {lease!r}", status=Status.NOT_FOUND)
        items = self._folders.get(folder, {})
        before = items.get(key)
        if before is None and self._count >= self._most_items:
            raise StoreError(
                f"the store has {self._count} items, the limit is {self._most_items}",
                status=Status.RESOURCE_EXHAUSTED,
            )
        self._forget_lease(folder, before)
        if holder is not None:
            holder.items.add((folder, key))
            holder.written.add((folder, key))
        self._count += before is None
        revision = self._note_change(folder)
        self._folders.setdefault(folder, items)[key] = Item(key, value, revision, lease)
        return revision

    def _delete(self, folder: str, key: str) -> bool:
        items = self._folders.get(folder, {})
        item = items.pop(key, None)
        if item is None:
            return False
        self._forget_lease(folder, item)
        self._count -= 1
        self._note_change(folder)
        if not items:
            # One empty list is like the other: a folder that is gone needs no memory of its own.
            del self._folders[folder], self._revisions[folder]
        return True

    def _forget_lease(self, folder: str, item: Item | None) -> None:
        if item is not None and item.lease is not None and item.lease in self._leases:
            self._leases[item.lease].items.discard((folder, item.key))

    def _note_change(self, folder: str) -> int:
        self.revision += 1
        self._revisions[folder] = self.revision
        self._wake(folder)
        return self.revision

    def _wake(self, folder: str) -> None:
        for changed in self._waiting.pop(folder, ()):
            if not changed.done():
                changed.set_result(None)

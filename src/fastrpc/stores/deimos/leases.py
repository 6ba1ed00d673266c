"""The leases of a store in Deimos: each is one item with a time to live, known to the store object that made it."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fastrpc.errors import StoreError

__all__ = ["ItemLease", "ItemLeases"]


@dataclass(slots=True)
class ItemLease:
    """A lease, and its item once there is one."""

    seconds: int

    #: The instant at which the lease ends while it has no known item.
    due: float

    #: The key as the store has it; None without an item.
    key: str | None = None
    value: str = ""

    #: The indexes of the item. Both are 0 until its first write is answered; the revision is also 0 while a later write
    #: is unanswered.
    created: int = 0
    revision: int = 0

    #: Held by a write of the lease's item, by the end of the lease, and by a renewal that does not know the item.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class ItemLeases:
    """The leases by name.

    Args:
        clock: returns an instant in seconds that never decreases.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._leases: dict[str, ItemLease] = {}
        self._names: dict[str, str] = {}

    def add(self, seconds: int) -> str:
        """Make a lease without an item; return its name."""
        now = self._clock()
        for name, lease in list(self._leases.items()):
            if not lease.created and lease.due <= now:
                self.remove(name)
        name = secrets.token_hex(8)
        self._leases[name] = ItemLease(seconds, now + seconds)
        return name

    def find(self, name: str) -> ItemLease | None:
        """Return a lease; None if it has ended."""
        found = self._leases.get(name)
        if found is not None and not found.created and found.due <= self._clock():
            self.remove(name)
            return None
        return found

    def name_of(self, key: str, created: int) -> str | None:
        """Return the lease of an item."""
        name = self._names.get(key)
        return name if name is not None and self._leases[name].created == created else None

    @contextlib.contextmanager
    def writing(self, name: str, key: str, value: str, *, creates: bool) -> Iterator[None]:
        """Note the item that the block writes under a lease: an item that may have been written ends with the lease.

        After a failed write the lease is unchanged, and so are the key and its lease.
        """
        lease = self._leases[name]
        earlier = (lease.value, lease.created, lease.revision) if lease.key == key else None
        lease.key, lease.value, lease.revision = key, value, 0
        if creates and lease.created:
            lease.created = 0
            self.extend(name)
        try:
            yield
        except BaseException as error:
            if not isinstance(error, StoreError) or error.processed != "no":
                self._unbind_others(name, key)
            elif lease.key == key and not lease.revision:
                if earlier is None:
                    lease.key = None
                else:
                    lease.value, lease.created, lease.revision = earlier
            raise

    def bind(self, name: str, key: str, value: str, created: int, revision: int) -> None:
        """Note that an item belongs to this lease, unless the lease has ended, and to no other lease."""
        self._unbind_others(name, key)
        lease = self._leases.get(name)
        if lease is None or (lease.key == key and revision < lease.revision):
            return
        lease.key, lease.value, lease.created, lease.revision = key, value, created, revision
        self._names[key] = name

    def unbind(self, key: str) -> None:
        """Note that a key belongs to no lease."""
        name = self._names.get(key)
        if name is not None:
            self.part(name)

    def part(self, name: str) -> None:
        """Note that a lease has no item."""
        lease = self._leases.get(name)
        if lease is None:
            return
        self._forget_item(name, lease)
        lease.key, lease.created, lease.revision = None, 0, 0
        lease.due = self._clock() + lease.seconds

    def extend(self, name: str) -> None:
        """Restart a lease that has no known item."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.due = self._clock() + lease.seconds

    def remove(self, name: str) -> None:
        """Forget a lease."""
        lease = self._leases.pop(name, None)
        if lease is not None:
            self._forget_item(name, lease)

    def _unbind_others(self, name: str, key: str) -> None:
        if self._names.get(key) != name:
            self.unbind(key)

    def _forget_item(self, name: str, lease: ItemLease) -> None:
        if lease.key is not None and self._names.get(lease.key) == name:
            del self._names[lease.key]

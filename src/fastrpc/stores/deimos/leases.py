"""The leases of a store in Deimos. A lease is one item with a time to live; only its store object knows it."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from fastrpc.errors import StoreError

__all__ = ["ItemLease", "ItemLeases"]


@dataclass(slots=True)
class ItemLease:
    """A lease, and its item once it is written."""

    seconds: int

    #: The instant at which the lease ends if it has no known item.
    due: float

    #: `key`: the key of the item in Deimos; None without an item.
    key: str | None = None
    value: str = ""

    #: The created and the modified index of the item. Both are 0 until the first write is answered; `revision` is also
    #: 0 while a later write is not answered.
    created: int = 0
    revision: int = 0

    #: Held by writes of the item, by the revocation, and by a renewal for which the item is unknown.
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
        """Create a lease without an item; return its name."""
        now = self._clock()
        for name, lease in list(self._leases.items()):
            if not lease.created and lease.due <= now:
                self.remove(name)
        name = secrets.token_hex(8)
        self._leases[name] = ItemLease(seconds, now + seconds)
        return name

    def find(self, name: str) -> ItemLease | None:
        """Return a lease, or None if it has ended."""
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
        """Bind the item that the block writes to a lease, even if it is unknown whether the write has arrived.

        If the write has certainly failed, the lease is restored.
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
        """Bind an item to this lease, if the lease has not ended, and to no other lease."""
        self._unbind_others(name, key)
        lease = self._leases.get(name)
        if lease is None or (lease.key == key and revision < lease.revision):
            return
        lease.key, lease.value, lease.created, lease.revision = key, value, created, revision
        self._names[key] = name

    def unbind(self, key: str) -> None:
        """Remove a key from its lease."""
        name = self._names.get(key)
        if name is not None:
            self.part(name)

    def part(self, name: str) -> None:
        """Remove the item from a lease."""
        lease = self._leases.get(name)
        if lease is None:
            return
        self._forget_item(name, lease)
        lease.key, lease.created, lease.revision = None, 0, 0
        lease.due = self._clock() + lease.seconds

    def extend(self, name: str) -> None:
        """Restart the time of a lease that has no known item."""
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

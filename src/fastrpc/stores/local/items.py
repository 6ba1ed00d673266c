"""The items of a store, by key and in the order of their keys, with limits of their number and bytes."""

import bisect
from collections.abc import Iterator, Sequence

from fastrpc.errors import StoreError
from fastrpc.status import Status
from fastrpc.stores.base import Item, Write

__all__ = ["Items", "full"]


class Items:
    """The present item of each key.

    Args:
        most_items: the most items; more are refused.
        most_bytes: the most bytes of keys and values together; more are refused.
    """

    def __init__(self, most_items: int, most_bytes: int) -> None:
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._items: dict[str, Item[bytes]] = {}
        # All keys in order.
        self._keys: list[str] = []
        #: Bytes of keys and values.
        self.size = 0

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def get(self, key: str) -> Item[bytes] | None:
        """Return the item of a key."""
        return self._items.get(key)

    def all(self) -> tuple[Item[bytes], ...]:
        """Return all items, in any order."""
        return tuple(self._items.values())

    def below(self, prefix: str = "", start: str = "") -> Iterator[Item[bytes]]:
        """Yield the items of a prefix from the key `start` on, in the order of their keys."""
        for place in range(bisect.bisect_left(self._keys, max(prefix, start)), len(self._keys)):
            if not self._keys[place].startswith(prefix):
                return
            yield self._items[self._keys[place]]

    def restore(self, items: Sequence[Item[bytes]]) -> None:
        """Load the items of a journal."""
        self._items = {item.key: item for item in items}
        self._keys = sorted(self._items)
        self.size = sum(map(_size, items))

    def put(self, key: str, item: Item[bytes] | None) -> Item[bytes] | None:
        """Set or remove the item of a key; return the previous item."""
        before = self._items.pop(key, None)
        if before is not None:
            self.size -= _size(before)
        if item is not None:
            if before is None:
                bisect.insort(self._keys, key)
            self._items[key] = item
            self.size += _size(item)
        elif before is not None:
            del self._keys[bisect.bisect_left(self._keys, key)]
        return before

    def check_room(self, writes: Sequence[Write]) -> None:
        """Raise StoreError (RESOURCE_EXHAUSTED) if writes exceed a limit, except writes that shrink the store."""
        before = [self._items[step.key] for step in writes if step.key in self._items]
        if len(self._items) + len(writes) - len(before) > self._most_items:
            raise full(f"the store has {len(self._items)} items, the limit is {self._most_items}")
        more = sum(len(step.key) + len(step.value) for step in writes) - sum(map(_size, before))
        if more > 0 and self.size + more > self._most_bytes:
            raise full(
                f"the items of the store have {self.size} bytes and these {more} more, "
                f"the limit is {self._most_bytes}"
            )


def full(text: str) -> StoreError:
    """Return the error of a write that a full store has refused."""
    return StoreError(text, status=Status.RESOURCE_EXHAUSTED, processed="no")


def _size(item: Item[bytes]) -> int:
    return len(item.key) + len(item.value)

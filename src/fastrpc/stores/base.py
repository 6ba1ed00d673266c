"""The interface of key-value stores."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Folder", "Item", "KeyValueStore"]


@dataclass(frozen=True, slots=True)
class Item:
    """One key and its value."""

    key: str
    value: bytes

    #: The store's revision when this was written.
    revision: int

    #: Its lease; None for a permanent item.
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """All items of one folder, at one moment."""

    #: Changes with each change in this folder, and is never reused for other items; 0 for an empty folder.
    revision: int

    #: In the order of their keys.
    items: tuple[Item, ...]

    #: Bytes of all values together.
    size: int = 0


class KeyValueStore(Protocol):
    """Keeps items in folders; an item may end with a lease.

    A store that is unreachable or refuses raises StoreError.
    """

    async def get(self, folder: str, key: str) -> Item | None: ...

    async def list(self, folder: str) -> Folder: ...

    async def put(self, folder: str, key: str, value: bytes, *, lease: str | None = None) -> int:
        """Write an item, over any other; return its revision. An expired lease is a StoreError."""

    async def delete(self, folder: str, key: str) -> bool:
        """Remove an item; return whether it existed."""

    async def compare_and_set(self, folder: str, key: str, value: bytes, expected: int) -> bool:
        """Write an item if its revision is the expected one, 0 for none; return whether it was."""

    def watch(self, folder: str, after: int = -1) -> AsyncGenerator[Folder, None]:
        """Yield the current folder, then each change of it; skip the one at revision `after`."""

    async def lease(self, seconds: float) -> str:
        """Create a lease; without `renew` for `seconds` it ends, together with its items."""

    async def renew(self, lease: str) -> bool:
        """Renew a lease; False if it has ended."""

    async def revoke(self, lease: str) -> bool:
        """End a lease and its items now; return whether it was alive."""

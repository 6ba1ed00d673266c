"""What a key-value store is."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Folder", "Item", "KeyValueStore"]


@dataclass(frozen=True, slots=True)
class Item:
    """One key and what is kept under it."""

    key: str
    value: bytes

    #: The store's revision when this was written.
    revision: int

    #: The lease it ends with; None for what stays.
    lease: str | None = None


@dataclass(frozen=True, slots=True)
class Folder:
    """All items of one folder, at one moment."""

    #: Another one after each change in this folder, and never one that it had with other items; 0 when it has none.
    revision: int

    #: In the order of their keys.
    items: tuple[Item, ...]

    #: Bytes of all values together.
    size: int = 0


class KeyValueStore(Protocol):
    """Keeps items in folders; an item may end with a lease.

    Whatever cannot be reached or refuses raises StoreError.
    """

    async def get(self, folder: str, key: str) -> Item | None: ...

    async def list(self, folder: str) -> Folder: ...

    async def put(self, folder: str, key: str, value: bytes, *, lease: str | None = None) -> int:
        """Write an item, whatever was there; returns its revision. A lease that is not alive is a StoreError."""

    async def delete(self, folder: str, key: str) -> bool:
        """Remove an item; returns whether there was one."""

    async def compare_and_set(self, folder: str, key: str, value: bytes, expected: int) -> bool:
        """Write an item if its revision is the one expected, 0 for none; returns whether it was."""

    def watch(self, folder: str, after: int = -1) -> AsyncGenerator[Folder, None]:
        """Yield a folder as it is, then after each change; one at revision `after` is left out."""

    async def lease(self, seconds: float) -> str:
        """Make a lease that ends after so long without `renew`, and its items with it."""

    async def renew(self, lease: str) -> bool:
        """Start its time anew; False when it has ended."""

    async def revoke(self, lease: str) -> bool:
        """End a lease and its items now; returns whether it was alive."""

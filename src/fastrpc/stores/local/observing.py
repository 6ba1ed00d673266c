"""The observer of a store, and the write that only it needs: the tree of Deimos has events and created indexes."""

from collections.abc import Sequence
from typing import Protocol

from fastrpc.stores.base import Write
from fastrpc.stores.local.history import HistoryObserver
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["Creation", "StoreObserver"]


class Creation(Write):
    """Writes an item as a new one: it replaces any other item, and its created revision is the present one."""


class StoreObserver(HistoryObserver, Protocol):
    """Learns of each change of a store, of its commit, and of the end of the store."""

    def ending(self, lease: str, keys: Sequence[str]) -> Sequence[str]:
        """Return the keys that end with a lease: the keys of its items, and further ones."""

    def made(self, changes: Sequence[Uncommitted], *, is_end: bool) -> None:
        """Take the changes of items of one revision, before they are committed.

        Args:
            is_end: whether a lease ended.
        """

    def undone(self) -> None:
        """Forget the uncommitted changes, as there was no room for them."""

"""The interface of a store's observer, and a special write. The tree of Deimos needs both."""

from collections.abc import Sequence
from typing import Protocol

from fastrpc.stores.base import Write
from fastrpc.stores.local.history import HistoryObserver
from fastrpc.stores.local.uncommitted import Uncommitted

__all__ = ["Creation", "StoreObserver"]


class Creation(Write):
    """The operation that writes an item as new: even if the key exists, the item gets another created revision."""


class StoreObserver(HistoryObserver, Protocol):
    """The interface of an object that a store notifies of changes, of their commits, and of its end."""

    def ending(self, lease: str, keys: Sequence[str]) -> Sequence[str]:
        """Return the keys that are deleted when a lease ends: the keys of its items, and possibly others."""

    def made(self, changes: Sequence[Uncommitted], *, is_end: bool) -> None:
        """Called with the item changes of one revision, before they are committed.

        Args:
            is_end: whether the end of a lease has caused the changes.
        """

    def undone(self) -> None:
        """Called when the uncommitted changes were undone, because the journal is full."""

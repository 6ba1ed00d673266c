"""Watch keys in Deimos after an index. The functions block, so a thread runs them.

Deimos loses events: the end of one watch can silence other watches, and the deletion of a directory is a single event,
which watches below the directory do not get. So each wait ends after some seconds and continues from its index, and all
keys are read again at intervals.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from fastrpc.errors import CompactedError
from fastrpc.registries.deimos.node import DeimosAnswer, DeimosClient, DeimosNode
from fastrpc.stores.base import Item, ItemChange

__all__ = ["KeyWatcher"]

#: Seconds after which all keys are read again.
READ_SECONDS: Final = 15.0

#: The pause in seconds after a wait that ended immediately without an event.
_PAUSE_SECONDS: Final = 0.25

_DELETIONS: Final = frozenset({"delete", "compareAndDelete", "expire"})


class KeyWatcher:
    """The changes of one key, or of all keys of a prefix.

    Args:
        path: the path of the watched key or directory in Deimos.
        item_of: returns the item of a node, or None for a directory or a key that is not watched.
        read: returns all items by path, and the index of the store.
        reached: the index after which changes are requested.
        begun: the index of the store at the start of the watch.
        known: the items at that index by path, as far as they are known.
    """

    def __init__(
        self,
        path: str,
        *,
        recursive: bool,
        item_of: Callable[[DeimosNode], Item[bytes] | None],
        read: Callable[[DeimosClient], tuple[Mapping[str, Item[bytes]], int]],
        reached: int,
        begun: int,
        known: Mapping[str, Item[bytes]],
    ) -> None:
        self._path = path
        self._recursive = recursive
        self._item_of = item_of
        self._read = read
        #: The index up to which all changes were returned.
        self.reached = reached
        self._begun = begun
        self._known = dict(known)
        self._read_due = time.monotonic() + READ_SECONDS

    def receive(self, client: DeimosClient) -> list[ItemChange]:
        """Wait for the next changes; return an empty list after some seconds.

        Raises:
            CompactedError: the store no longer has the events after the index.
            StoreError: no node answers.
        """
        begun = time.monotonic()
        if begun >= self._read_due:
            self._read_due = begun + READ_SECONDS
            return self._compared(*self._read(client))
        event = client.wait(self._path, self.reached + 1, recursive=self._recursive)
        if event is None or event.node.modified_index <= self.reached:
            if time.monotonic() - begun < _PAUSE_SECONDS:
                time.sleep(_PAUSE_SECONDS)
            return []
        self.reached = event.node.modified_index
        return self._changes(event)

    def _changes(self, event: DeimosAnswer) -> list[ItemChange]:
        node, index = event.node, event.node.modified_index
        before = None if event.prev_node is None else self._item_of(event.prev_node)
        is_deletion = event.action in _DELETIONS
        if is_deletion and (node.dir or (event.prev_node is not None and event.prev_node.dir)):
            if index <= self._begun:
                raise CompactedError(
                    f"the directory {node.key} was deleted at index {index}, and its keys are unknown",
                    oldest=self._begun,
                    hint="list the items again, and watch after the revision of that list",
                )
            return [
                self._deletion(one, index) for one in sorted(self._known) if one.startswith(f"{node.key}/")
            ]
        if before is not None:
            self._known.setdefault(node.key, before)
        if is_deletion or node.dir:
            # If the key has become a directory, it was deleted.
            return [self._deletion(node.key, index)] if node.key in self._known else []
        item = self._item_of(node)
        return [] if item is None else self._note(node.key, item, item.revision)

    def _compared(self, items: Mapping[str, Item[bytes]], index: int) -> list[ItemChange]:
        """Compare a read of all items with the known items; return the changes that no event has reported."""
        if index < self.reached:
            # The node lags: it does not have the changes up to `reached` yet.
            return []
        changes = [self._deletion(path, index) for path in sorted(self._known) if path not in items]
        for path, item in items.items():
            # Revisions of changes must not decrease, so a missed change gets the index of the read.
            revision = item.revision if item.revision > self.reached else index
            changes += self._note(path, item, revision)
        self.reached = index
        return sorted(changes, key=lambda change: change.revision)

    def _note(self, path: str, item: Item[bytes], revision: int) -> list[ItemChange]:
        """Store an item as known; return its change, or nothing if only its lease was renewed."""
        before, self._known[path] = self._known.get(path), item
        if before is not None:
            is_renewal = item.lease is not None and replace(item, revision=before.revision) == before
            if is_renewal or item.revision <= before.revision:
                return []
        return [ItemChange(item.key, revision, item)]

    def _deletion(self, path: str, revision: int) -> ItemChange:
        return ItemChange(self._known.pop(path).key, revision, None)

"""The changes that a watch of Consul has seen, from which a later watch can continue."""

from collections import deque
from typing import Final

from fastrpc.errors import CompactedError
from fastrpc.registries.consul.agent import Index
from fastrpc.stores.base import Item, ItemChange

__all__ = ["Followed"]

#: Most changes that are kept for later watches.
_KEPT_CHANGES: Final = 100


class Followed:
    """The state that a watch of a key or prefix has reached. A later watch can continue from it."""

    def __init__(self) -> None:
        self.index = Index()
        #: The revision after which all changes are kept.
        self.base = 0
        self._changes: deque[ItemChange] = deque()
        # The revision of each key in the latest answer; None: an unknown revision, at most `_reached`.
        self._known: dict[str, int | None] = {}
        self._reached = 0

    def begin(self, known: dict[str, int | None]) -> None:
        """Start with the keys of the first answer."""
        self._known = known
        self.base = self._reached = self.index.latest

    def reach_back(self, watched: str, after: int, items: dict[str, Item[bytes]]) -> None:
        """Extend the changes back to an earlier revision, which is possible only for a watch of a single key."""
        if self.base <= after:
            return
        if watched.endswith("/") or not watched:
            raise self._compacted(self.base)
        self.base = after
        item = items.get(watched)
        if item is None or item.revision > after:
            self._changes.append(ItemChange(watched, self._reached if item is None else item.revision, item))

    def take(self, items: dict[str, Item[bytes]]) -> None:
        """Add the changes between the last answer and this answer.

        Raises:
            CompactedError: the server has returned to an earlier state.
        """
        latest = self.index.latest
        changes = [ItemChange(key, item.revision, item) for key, item in items.items() if self._is_new(item)]
        changes += [ItemChange(key, latest, None) for key in self._known.keys() - items.keys()]
        changes.sort(key=lambda change: (change.revision, change.key))
        if changes and changes[0].revision <= self._reached:
            raise self._compacted(latest)
        while len(self._changes) > _KEPT_CHANGES:
            self.base = self._changes.popleft().revision
        self._changes += changes
        self._known = {key: item.revision for key, item in items.items()}
        self._reached = max(self._reached, latest)

    def _is_new(self, item: Item[bytes]) -> bool:
        known = self._known.get(item.key, 0)
        return item.revision > self._reached if known is None else item.revision != known

    def after(self, revision: int) -> list[ItemChange]:
        return [change for change in self._changes if change.revision > revision]

    def _compacted(self, oldest: int) -> CompactedError:
        return CompactedError(
            f"Consul keeps no changes before revision {oldest}",
            oldest=oldest,
            hint="list the items again, and watch after the revision of that list",
        )

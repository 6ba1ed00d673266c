"""The state of a store as plain data, for the admin page `/store`.

It has the first keys of each kind, and no values except the texts of lock holders.
"""

from itertools import islice
from typing import Any, Final, Protocol

from fastrpc.coordination.locks import LEADERS, LOCKS
from fastrpc.errors import StoreError
from fastrpc.escaping import printable
from fastrpc.stores.base import Item, StoreBackend
from fastrpc.stores.local import LocalStore

__all__ = ["overview", "overview_of"]

#: Most contenders that are read for each row of locks, since the page must not block the loop.
_CONTENDERS: Final = 20

#: Most characters that are shown of a holder's text.
_HOLDER_CHARACTERS: Final = 100


class _Opened(Protocol):
    """The part of a store that the overview uses."""

    @property
    def backend(self) -> StoreBackend:
        """The backend. StoreError: the store is closed."""


def overview_of(store: _Opened, most_rows: int) -> dict[str, Any] | None:
    """Return the overview of a store; None if it is closed, or if another process has opened it."""
    try:
        backend = store.backend
    except StoreError:
        return None
    return overview(backend, most_rows) if isinstance(backend, LocalStore) else None


def overview(store: LocalStore, most_rows: int) -> dict[str, Any]:
    """Return the figures of a store, and the first rows of its locks, leaders, leases and items."""
    return {
        "store": store.figures(),
        "locks": _held(store, LOCKS, most_rows),
        "leaders": _held(store, LEADERS, most_rows),
        "leases": [
            {
                "lease": name,
                "seconds": seconds,
                "left_seconds": left,
                "items": len(store.content.leases.keys(name)),
            }
            for name, seconds, left in islice(store.content.leases.all(), most_rows)
        ],
        "items": [
            {
                "key": item.key,
                "bytes": len(item.value),
                "revision": item.revision,
                "created": item.created,
                "lease": item.lease,
            }
            for item in islice(store.content.items.below(), most_rows)
        ],
    }


def _held(store: LocalStore, folder: str, most_rows: int) -> list[dict[str, Any]]:
    """Return the locks of a folder: the holder is the contender that came first."""
    contenders: dict[str, list[Item[bytes]]] = {}
    for item in islice(store.content.items.below(folder), most_rows * _CONTENDERS):
        name, _, lease = item.key[len(folder) :].rpartition("/")
        if name and item.lease == lease:
            contenders.setdefault(name, []).append(item)
    return [_row(name, items) for name, items in islice(contenders.items(), most_rows)]


def _row(name: str, items: list[Item[bytes]]) -> dict[str, Any]:
    holder = min(items, key=lambda item: item.created)
    text = holder.value[: 4 * _HOLDER_CHARACTERS].decode(errors="replace")[:_HOLDER_CHARACTERS]
    return {
        "name": name,
        "holder": printable(text),
        "token": holder.created,
        "waiting": len(items) - 1,
    }

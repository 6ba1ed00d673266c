"""Lists that are handed out in pages: kept as they were while somebody may ask for their next page."""

import time
from collections.abc import Callable

from fastrpc.stores.base import Folder

__all__ = ["PAGE_BYTES", "Listings", "page_of"]

#: Most bytes of records in one page: far below the least that a connection takes by default, and quickly encoded.
PAGE_BYTES = 1024 * 1024

#: Seconds for which a list is kept after somebody asked for a page of it.
KEPT_SECONDS = 30.0

#: Lists that are kept at most.
MOST_KEPT = 64

#: What a record takes beside its bytes.
_EXTRA_BYTES = 8


def page_of(folder: Folder, start: int, page_bytes: int) -> int:
    """Return where the page that begins at an item ends; it has one item at least."""
    left = min(max(page_bytes, 1), PAGE_BYTES)
    end = start
    for item in folder.items[start:]:
        left -= len(item.value) + _EXTRA_BYTES
        if left < 0 and end > start:
            break
        end += 1
    return end


class Listings:
    """Keeps the lists that changed while somebody goes through their pages.

    Args:
        most_bytes: of all lists that are kept, beside the latest one of them.
        clock: gives an instant in seconds that never goes back.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._bytes = 0
        # In the order of their last use.
        self._kept: dict[tuple[str, int], tuple[Folder, float]] = {}

    def keep(self, service: str, folder: Folder) -> None:
        """Keep a list, and let go of those that nobody asked for lately."""
        place = (service, folder.revision)
        self._drop(place)
        now = self._clock()
        self._kept[place] = (folder, now)
        self._bytes += folder.size
        for other, (_, used) in list(self._kept.items()):
            is_over = self._bytes > self._most_bytes or len(self._kept) > MOST_KEPT
            if other == place or not (is_over or now - used > KEPT_SECONDS):
                break
            self._drop(other)

    def find(self, service: str, revision: int) -> Folder | None:
        """Return a list that is kept; None if it is not, or not any more."""
        found = self._kept.get((service, revision))
        return None if found is None else found[0]

    def _drop(self, place: tuple[str, int]) -> None:
        folder, _ = self._kept.pop(place, (None, 0.0))
        if folder is not None:
            self._bytes -= folder.size

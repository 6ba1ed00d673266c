"""Lists that are read in pages. A list is kept unchanged while readers may request its next page."""

import time
from collections.abc import Callable

from fastrpc.stores.base import Folder

__all__ = ["PAGE_BYTES", "Listings", "page_of"]

#: Most bytes of records in one page: far below the default message limit, and fast to encode.
PAGE_BYTES = 1024 * 1024

#: Seconds for which a list is kept after the last request for one of its pages.
KEPT_SECONDS = 30.0

#: Most lists that are kept.
MOST_KEPT = 64

#: Overhead of a record, in bytes.
_EXTRA_BYTES = 8


def page_of(folder: Folder, start: int, page_bytes: int) -> int:
    """Return the end of the page that starts at an item. A page has at least one item."""
    left = min(max(page_bytes, 1), PAGE_BYTES)
    end = start
    for item in folder.items[start:]:
        left -= len(item.value) + _EXTRA_BYTES
        if left < 0 and end > start:
            break
        end += 1
    return end


class Listings:
    """Keeps outdated lists while readers fetch their pages.

    Args:
        most_bytes: the most bytes of all kept lists, not counting the latest list of each service.
        clock: returns an instant in seconds that never decreases.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._bytes = 0
        # Kept lists in the order of their last use.
        self._kept: dict[tuple[str, int], tuple[Folder, float]] = {}

    def keep(self, service: str, folder: Folder) -> None:
        """Keep a list, and drop lists that were not requested lately."""
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
        """Return a kept list; None if it is unknown or dropped."""
        found = self._kept.get((service, revision))
        return None if found is None else found[0]

    def _drop(self, place: tuple[str, int]) -> None:
        folder, _ = self._kept.pop(place, (None, 0.0))
        if folder is not None:
            self._bytes -= folder.size

"""The lists of services in the form for callers: with cursors, whole or in pages."""

import secrets
from dataclasses import dataclass

from fastrpc.coordination.latest_result import LatestResult
from fastrpc.coordination.registry.listings import Listings, page_of
from fastrpc.errors import CallError
from fastrpc.rpc.shared_results import SharedResult
from fastrpc.status import Status
from fastrpc.stores.base import Folder

__all__ = ["ServiceList", "ServiceLists"]

#: Most bytes of a list that is requested without pages, so that it fits the default message limit.
WHOLE_LIST_BYTES = 16 * 1024 * 1024 - 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServiceList(SharedResult):
    """The list of a service, or one page of it."""

    #: The identifier of this version of the list. A watch with this cursor waits for the next version. The part before
    #: the dot changes when the registry restarts.
    cursor: str

    #: JSON records, in the order of their addresses.
    records: list[str]

    #: The position of the next page in the list; 0 after the last record.
    following: int = 0


class ServiceLists:
    """Builds the lists of one run of a registry, and keeps outdated lists while their pages are read.

    Args:
        most_bytes: the most bytes of all kept lists, not counting the latest list of each service.
    """

    def __init__(self, most_bytes: int) -> None:
        self._instance = secrets.token_hex(4)
        self._listings = Listings(most_bytes)
        # The latest result, a list or its first page. All watchers of a service get the same object.
        self._latest: LatestResult[ServiceList] = LatestResult()

    def cursor(self, folder: Folder) -> str:
        """Return the cursor of a list."""
        return f"{self._instance}.{folder.revision}"

    def whole(self, service: str, folder: Folder) -> ServiceList:
        """Return a list without pages.

        Raises:
            CallError: RESOURCE_EXHAUSTED: the list does not fit into one answer.
        """
        if folder.size > WHOLE_LIST_BYTES:
            raise CallError(
                Status.RESOURCE_EXHAUSTED,
                f"the list of {service} has {folder.size} bytes, one answer holds {WHOLE_LIST_BYTES}; "
                "ask for pages with page_bytes",
            )
        key = (service, folder.revision, len(folder.items))
        return self._latest.get(key, lambda: self._part(folder, 0, len(folder.items)))

    def first_page(self, service: str, folder: Folder, page_bytes: int) -> ServiceList:
        """Return the first page of a list, which is built once for all watchers."""
        key = (service, folder.revision, "page", page_bytes)
        page = self._latest.get(key, lambda: self._part(folder, 0, page_of(folder, 0, page_bytes)))
        if page.following:
            self._listings.keep(service, folder)
        return page

    def page(self, service: str, folder: Folder, start: int, page_bytes: int) -> ServiceList:
        """Return one page, and keep the list for the following pages."""
        if start == 0:
            return self.first_page(service, folder, page_bytes)
        end = page_of(folder, start, page_bytes)
        if end < len(folder.items):
            self._listings.keep(service, folder)
        return self._part(folder, start, end)

    def outdated(self, service: str, cursor: str) -> Folder | None:
        """Return the outdated list of a cursor; None if it is not kept."""
        instance, _, revision = cursor.partition(".")
        if instance == self._instance and revision.isascii() and revision.isdecimal():
            return self._listings.find(service, int(revision[:20]))
        return None

    def _part(self, folder: Folder, start: int, end: int) -> ServiceList:
        records = [item.value.decode() for item in folder.items[start:end]]
        return ServiceList(self.cursor(folder), records, end if end < len(folder.items) else 0)

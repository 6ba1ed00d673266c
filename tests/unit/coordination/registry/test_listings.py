"""Lists that are read page by page."""

import itertools

from fastrpc.coordination.registry.listings import KEPT_SECONDS, MOST_KEPT, PAGE_BYTES, Listings, page_of
from fastrpc.stores.base import Folder, Item
from fastrpc.testing import FakeClock

_revisions = itertools.count(1)


def folder(*sizes: int) -> Folder:
    items = tuple(Item(f"{number:04}", b"x" * size, 1) for number, size in enumerate(sizes))
    return Folder(next(_revisions), items, sum(sizes))


def test_pages_have_the_bytes_asked_for_and_one_item_at_least() -> None:
    found = folder(100, 100, 100, 5_000, 10)
    ends = []
    start = 0
    while start < len(found.items):
        start = page_of(found, start, 250)
        ends.append(start)
    assert ends == [2, 3, 4, 5]
    for page_bytes in (1, 0, -5):
        assert page_of(found, 0, page_bytes) == 1
    assert page_of(found, 0, 10**9) == 5


def test_page_is_never_larger_than_the_limit() -> None:
    found = folder(*[8_192] * 1_000)
    assert page_of(found, 0, 10**12) == PAGE_BYTES // 8_200


def test_list_is_kept_while_requests_for_it_continue() -> None:
    clock = FakeClock()
    listings = Listings(10_000, clock)
    first, second = folder(100), folder(100)
    listings.keep("a", first)
    for _ in range(5):
        clock.advance(KEPT_SECONDS)
        listings.keep("a", first)
    assert listings.find("a", first.revision) is first
    clock.advance(KEPT_SECONDS + 1)
    listings.keep("a", second)
    assert listings.find("a", first.revision) is None
    assert listings.find("a", second.revision) is second


def test_kept_lists_are_bounded_in_bytes_and_number() -> None:
    listings = Listings(1_000, FakeClock())
    kept = [folder(400) for _ in range(10)]
    for one in kept:
        listings.keep("a", one)
    assert [one for one in kept if listings.find("a", one.revision)] == kept[-2:]
    for one in [folder(1) for _ in range(200)]:
        listings.keep("a", one)
    assert len(listings._kept) == MOST_KEPT
    assert listings._bytes == MOST_KEPT


def test_list_of_another_service_is_not_found() -> None:
    listings = Listings(1_000, FakeClock())
    one = folder(1)
    listings.keep("a", one)
    assert listings.find("b", one.revision) is None

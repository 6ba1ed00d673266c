"""The memory for figures of servers: limits for one server, and for all servers.

A server is not trusted, so its methods are counted in bytes before they are kept. While all servers together are over
the budget, the server with most figures loses all of them, and may keep only its share from then on. So the figures of
small servers stay.
"""

from collections.abc import Iterable
from sys import getsizeof
from typing import Final

import msgspec

from fastrpc.console.pages import CallerEndpoint, FiguresPage

__all__ = [
    "FLEET_BYTES",
    "LEAST_BYTES",
    "NUMBER_BYTES",
    "SERVER_BYTES",
    "fitting_endpoints",
    "fitting_page",
    "method_bytes",
]

#: Bytes of all servers together; 1,000 servers with 20 methods take 20 MiB.
FLEET_BYTES: Final = 64 * 1024 * 1024

#: The most bytes of one server; 4,096 methods on both sides take 9 MiB.
SERVER_BYTES: Final = 16 * 1024 * 1024

#: Bytes that a server may keep in any case: all servers of the largest fleet together are then within the budget.
LEAST_BYTES: Final = FLEET_BYTES // 4_096

#: The rows that each list of a page keeps if the page is over its share.
_FEW_ROWS: Final = 4

#: Approximate bytes in memory. _METHOD_BYTES: the objects of a method without its names. NUMBER_BYTES: each number of a
#: method. _PAGE_BYTES: a page without its rows. _ROW_BYTES: each row of a page.
_METHOD_BYTES: Final = 600
NUMBER_BYTES: Final = 50
_PAGE_BYTES: Final = 2_000
_ROW_BYTES: Final = 250


def method_bytes(names: Iterable[str], numbers: int) -> int:
    """Return the memory of the counts of a method: its names, and this number of counts by status and by duration."""
    return _METHOD_BYTES + _of_texts(names) + NUMBER_BYTES * numbers


def fitting_page(page: FiguresPage, most: int) -> tuple[FiguresPage, int, int]:
    """Return a page without its methods, its memory, and the number of rows left out to keep it below a bound."""
    page = msgspec.structs.replace(page, methods=[])
    if (taken := _page_bytes(page)) <= most:
        return page, taken, 0
    rows = _rows_of(page)
    for few in (_FEW_ROWS, 0):
        lists = {name: getattr(page, name)[:few] for name in ("services", "records", "processes", "without")}
        page = msgspec.structs.replace(page, **lists, log_levels=page.log_levels if few else {})
        if (taken := _page_bytes(page)) <= most:
            break
    return page, taken, rows - _rows_of(page)


def fitting_endpoints(endpoints: list[CallerEndpoint], most: int) -> tuple[list[CallerEndpoint], int]:
    """Return the first endpoints whose memory is together below a bound, and that memory."""
    taken = 0
    for number, one in enumerate(endpoints):
        more = _ROW_BYTES + _of_texts((one.target, one.address, one.state, one.breaker or ""))
        if taken + more > most:
            return endpoints[:number], taken
        taken += more
    return endpoints, taken


def _page_bytes(page: FiguresPage) -> int:
    texts = [page.server, page.fastrpc, page.python, page.state]
    texts += [text for pair in page.log_levels.items() for text in pair]
    texts += [text for one in page.services for text in (one.name, one.version or "", one.state)]
    texts += [one.role for one in page.processes]
    return _PAGE_BYTES + _of_texts(texts) + _ROW_BYTES * _rows_of(page)


def _rows_of(page: FiguresPage) -> int:
    return len(page.services) + len(page.records) + len(page.processes) + len(page.without)


def _of_texts(texts: Iterable[str]) -> int:
    return sum(map(getsizeof, texts))

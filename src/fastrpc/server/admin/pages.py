"""The admin pages by path, in the format that a reader accepts."""

import asyncio
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qs

from fastrpc.daemon_thread import in_daemon_thread
from fastrpc.metrics.exposition import CONTENT_TYPE_LATEST
from fastrpc.server.admin.figures import FigureChanges, Figures, json_of_methods
from fastrpc.server.admin.html import POLICY, index_page, table_page
from fastrpc.time_limit import time_limit
from fastrpc.user_code import contained

__all__ = ["Page", "AdminPages", "Shown"]

T = TypeVar("T")

logger = logging.getLogger("fastrpc.server")

#: The pages that are tables.
TABLES = frozenset(
    {
        *("/calls", "/connections", "/services", "/config", "/store", "/messages"),
        *("/figures", "/ended", "/logs", "/endpoints", "/stacks"),
    }
)

#: The smallest weight above 0 in Accept (RFC 9110, section 12.4.2).
LEAST_QUALITY = 0.001

JSON = (("Content-Type", "application/json"),)
TEXT = (("Content-Type", "text/plain; charset=utf-8"),)

#: The most seconds to make a page.
PAGE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page for a reader."""

    status: int
    fields: tuple[tuple[str, str], ...]
    content: bytes


class Shown(Protocol):
    """The state of one or several processes, which the pages show."""

    @property
    def is_ready(self) -> bool:
        """True if this server should receive calls."""

    async def values(self, name: str) -> Callable[[], dict[str, Any]]:
        """Return a function that computes the values of a table or of the `overview`; a thread calls it."""

    async def figures(self) -> Callable[[], Figures]:
        """Return a function that computes the figures; a thread calls it."""

    async def metrics(self) -> Callable[[], bytes]:
        """Return a function that makes the page of metrics; a thread calls it."""


class AdminPages:
    """The pages of one server.

    The data of each page are collected in a separate task of the loop and encoded in a thread, because calls must not
    wait while a page lists thousands of methods or calls.
    """

    def __init__(self, shown: Shown) -> None:
        self._shown = shown
        # A separate thread, because a program may occupy the loop's default executor. Metrics have further daemon
        # threads, because a collector of the program may hang: then the other pages show where, and the program can
        # exit.
        self._thread: ThreadPoolExecutor | None = None
        # The task that makes the page of metrics. All waiting readers share one task.
        self._metrics: asyncio.Task[bytes] | None = None
        self._making: set[asyncio.Task[None]] = set()
        self._changes = FigureChanges()

    def probe(self, path: str) -> int | None:
        """Return the status of a probe, which is its whole answer; None for another path."""
        if path == "/livez":
            return 200
        if path == "/readyz":
            return 200 if self._shown.is_ready else 503
        return None

    def serve(self, path: str, query: str, accepted: str, show: Callable[[Page], None]) -> bool:
        """Start to make a page and pass it to `show`; return False for an unknown path."""
        if path != "/" and path != "/metrics" and path not in TABLES:
            return False
        task = asyncio.ensure_future(self._serve(path, query, accepted, show))
        self._making.add(task)
        task.add_done_callback(self._making.discard)
        return True

    def close(self) -> None:
        """Stop making pages."""
        for task in list(self._making):
            task.cancel()
        if self._metrics is not None:
            self._metrics.cancel()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)

    async def _serve(self, path: str, query: str, accepted: str, show: Callable[[Page], None]) -> None:
        try:
            with contained(f"the page {path}"):
                async with time_limit(PAGE_SECONDS):
                    page = await self._page(path, query, accepted)
        except TimeoutError:
            advice = "; /stacks shows the collector that runs" if path == "/metrics" else ""
            logger.error("the page %s takes longer than %s s%s", path, PAGE_SECONDS, advice)
            page = _text(503, f"the page takes longer than {PAGE_SECONDS:g} s{advice}")
        except Exception:
            logger.exception("the page %s cannot be made", path)
            page = _text(500, "the page cannot be made, the log of the server has the reason")
        show(page)

    async def _page(self, path: str, query: str, accepted: str) -> Page:
        as_html = _quality(accepted, "text/html")
        wants_json = _quality(accepted, "application/json") >= max(as_html, LEAST_QUALITY)
        if path == "/metrics":
            return Page(200, (("Content-Type", CONTENT_TYPE_LATEST),), await self._shared_metrics())
        if path == "/":
            if not wants_json:
                return _html(index_page())
            return await self._in_thread(partial(_overview_of, await self._shown.values("overview")))
        is_html = as_html > 0 and not wants_json
        if path == "/figures":
            return await self._figures(query, is_html=is_html)
        values = await self._shown.values(path[1:])
        if is_html:
            return await self._in_thread(lambda: _html(table_page(path, values())))
        return await self._in_thread(partial(_json_of, values))

    async def _figures(self, query: str, *, is_html: bool) -> Page:
        given = parse_qs(query, keep_blank_values=True).get("after", [])
        if len(given) > 1 or any(not one.isascii() or not one.isdigit() or len(one) > 16 for one in given):
            return _text(
                400, f"after is {', '.join(given)!r}, it must be the revision of an earlier answer, a number"
            )
        figures, changes = await self._shown.figures(), self._changes
        if is_html:
            return await self._in_thread(lambda: _html(table_page("/figures", changes.rows(figures()))))
        after = int(given[0]) if given else None
        return await self._in_thread(lambda: Page(200, JSON, changes.page(figures(), after)))

    async def _shared_metrics(self) -> bytes:
        if self._metrics is None or self._metrics.done():
            self._metrics = asyncio.ensure_future(self._make_metrics())
        # If one reader disconnects, the page is still made for the others.
        return await asyncio.shield(self._metrics)

    async def _make_metrics(self) -> bytes:
        return await in_daemon_thread("fastrpc-metrics", await self._shown.metrics())

    def _in_thread(self, work: Callable[[], T]) -> "asyncio.Future[T]":
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="fastrpc-admin")
        return asyncio.get_running_loop().run_in_executor(self._thread, work)


def _quality(accepted: str, kind: str) -> float:
    """Return the weight of a media type in a reader's Accept header, from 0 to 1."""
    for part in accepted.split(","):
        name, *parameters = (text.strip(" \t").lower() for text in part.split(";"))
        if name == kind:
            weights = [text.removeprefix("q=") for text in parameters if text.startswith("q=")]
            try:
                return float(weights[0]) if weights else 1.0
            except ValueError:
                return 1.0
    return 0.0


def _json_of(values: Callable[[], Any]) -> Page:
    return Page(200, JSON, json.dumps(values(), indent=1, default=str).encode() + b"\n")


def _overview_of(values: Callable[[], dict[str, Any]]) -> Page:
    facts = values()
    methods = facts.pop("methods")
    return Page(200, JSON, json_of_methods(facts, methods))


def _text(status: int, text: str) -> Page:
    return Page(status, TEXT, f"{text}\n".encode())


def _html(content: str) -> Page:
    fields = (("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", POLICY))
    return Page(200, fields, content.encode())

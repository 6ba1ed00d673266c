"""The admin pages by their paths, in the form that a reader accepts."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastrpc.metrics import collector
from fastrpc.server.admin.html import POLICY, index_page, table_page
from fastrpc.server.admin.state import ServerState

__all__ = ["Page", "Pages"]

logger = logging.getLogger("fastrpc.server")


@dataclass(frozen=True, slots=True)
class Page:
    """A page for a reader."""

    status: int
    fields: tuple[tuple[str, str], ...]
    content: bytes


class Pages:
    """The pages of one server."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._metrics = _AllMetrics()
        # Readers of a page of metrics that is made now: one is made at a time.
        self._readers: list[Callable[[Page], None]] = []
        self._tables: dict[str, Callable[[], dict[str, Any]]] = {
            "/calls": state.calls,
            "/connections": state.connections,
            "/services": state.services,
            "/config": state.config,
        }

    def probe(self, path: str) -> int | None:
        """Return the status of a probe, which is all that it tells; None for another path."""
        if path == "/livez":
            return 200
        if path == "/readyz":
            return 200 if self._state.is_ready else 503
        return None

    def serve(self, path: str, accepted: str, show: Callable[[Page], None]) -> bool:
        """Show a page, now or later; return False if there is none of this path."""
        wants_json = "application/json" in accepted
        if path == "/":
            show(_json(self._state.overview()) if wants_json else _html(index_page()))
        elif path == "/metrics":
            self._readers.append(show)
            if len(self._readers) == 1:
                self._make_metrics()
        elif path in self._tables:
            value = self._tables[path]()
            is_html = "text/html" in accepted and not wants_json
            show(_html(table_page(path, value)) if is_html else _json(value))
        else:
            return False
        return True

    def _make_metrics(self) -> None:
        # In a thread: thousands of methods take longer than calls may wait.
        loop = asyncio.get_running_loop()
        try:
            making = loop.run_in_executor(None, partial(generate_latest, self._metrics))
        except RuntimeError as error:
            # No thread can be started now.
            making = loop.create_future()
            making.set_exception(error)
        making.add_done_callback(self._show_metrics)

    def _show_metrics(self, made: "asyncio.Future[bytes]") -> None:
        readers, self._readers = self._readers, []
        error = None if made.cancelled() else made.exception()
        if made.cancelled() or error is not None:
            logger.error("the page of metrics cannot be made", exc_info=error)
            page = Page(500, (), b"")
        else:
            page = Page(200, (("Content-Type", CONTENT_TYPE_LATEST),), made.result())
        for show in readers:
            try:
                show(page)
            except Exception:
                # It fails one reader, not those behind it.
                logger.exception("a reader cannot be shown the page of metrics")


class _AllMetrics(Collector):
    """The metrics of the program's own registry, and ours where those do not have them."""

    def __init__(self) -> None:
        self._ours = collector()

    def collect(self) -> Iterator[Metric]:
        names = set()
        for metric in REGISTRY.collect():
            names.add(metric.name)
            yield metric
        for metric in self._ours.collect():
            if metric.name not in names:
                yield metric


def _json(value: Any) -> Page:
    content = json.dumps(value, indent=1, default=str).encode() + b"\n"
    return Page(200, (("Content-Type", "application/json"),), content)


def _html(content: str) -> Page:
    fields = (("Content-Type", "text/html; charset=utf-8"), ("Content-Security-Policy", POLICY))
    return Page(200, fields, content.encode())

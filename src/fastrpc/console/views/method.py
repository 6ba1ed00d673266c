"""One method: rate, errors by status, percentiles, the same by server, and its last failed calls."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fastrpc.console.blocks import Block, Button, Buttons, Chart, ChartLine, Column, Facts, Link, Text
from fastrpc.console.history import percentiles_of
from fastrpc.console.reading import PageError
from fastrpc.console.servers import FleetServer, MethodCounts
from fastrpc.console.views.base import (
    CHART_POINTS,
    PERCENTILE_SECONDS,
    Asked,
    Row,
    cut,
    plain_table,
    rows_table,
    server_link,
)
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["view"]

#: Servers that are asked for their ended calls: the ones with most failed calls.
_ASKED = 4

_UNITS = {
    **dict.fromkeys(("calls per second", "errors per second"), "per second"),
    **dict.fromkeys(("p50", "p95", "p99"), "seconds"),
}
_BY_SERVER = (
    Column("server", "server"),
    Column("calls", "calls"),
    Column("failed", "failed"),
    Column("in_flight", "in flight"),
    *(Column(name, name, "seconds") for name in ("p50", "p95", "p99")),
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show a method; arguments: service, method."""
    service, method = asked.argument("service"), asked.argument("method")
    key = ("method", service, method)
    history, servers = asked.fleet.history, asked.fleet.servers.values()
    if not history.keys(*key) and not any(one[:2] == key[1:] for server in servers for one in server.counts):
        raise CallError(Status.NOT_FOUND, f"no call of {cut(service)}.{cut(method)} was counted")
    rates = history.rates(key, PERCENTILE_SECONDS)
    p50, p95, p99 = percentiles_of(history.durations(PERCENTILE_SECONDS, key), 0.5, 0.95, 0.99)
    facts = {"calls per second": round(rates.calls, 3), "errors per second": round(rates.errors, 3)}
    lines = [
        ChartLine(name, [round(one, 2) for one in history.points(key, name, CHART_POINTS)])
        for name in ("calls", "errors")
    ]
    counted = list(_counted(asked, service, method))
    statuses = Counter[str]()
    for _, counts in counted:
        statuses.update(counts.calls)
    status_columns = (Column("status", "status"), Column("calls", "calls"))
    blocks: list[Block] = [
        Facts("last five minutes", {**facts, "p50": p50, "p95": p95, "p99": p99}, _UNITS),
        Chart("calls", "per second", 10.0, lines),
        plain_table(
            "calls by status, since the servers started",
            status_columns,
            [([status, count], None) for status, count in statuses.most_common()],
        ),
        plain_table(
            "by server, since it started", _BY_SERVER, [_row_of(one, counts) for one, counts in counted]
        ),
        Buttons([Button("service", Link("service", {"service": service}))]),
    ]
    if asked.is_detailed:
        blocks += await _ended(asked, f"{service}.{method}", counted)
    return cut(f"{service}.{method}"), blocks


def _counted(asked: Asked, service: str, method: str) -> Iterator[tuple[FleetServer, MethodCounts]]:
    """Yield the servers that served the method, with the counts of all protocols together."""
    for server in asked.fleet.servers.values():
        found = [one for key, one in server.counts.items() if key[:3] == (service, method, "server")]
        if found:
            calls, durations = Counter[str](), Counter[int]()
            for one in found:
                calls.update(one.calls)
                durations.update(one.durations)
            in_flight, seconds = sum(one.in_flight for one in found), sum(one.seconds for one in found)
            sent = sum(one.bytes for one in found)
            yield server, MethodCounts(dict(calls), in_flight, seconds, sent, dict(durations))


def _row_of(server: FleetServer, counts: MethodCounts) -> Row:
    percentiles = percentiles_of(counts.durations, 0.5, 0.95, 0.99)
    return [server.key, counts.total, counts.errors, counts.in_flight, *percentiles], server_link(server.key)


async def _ended(asked: Asked, name: str, counted: list[tuple[FleetServer, MethodCounts]]) -> list[Block]:
    """Return the ended calls that servers keep, the newest first, and the servers that do not tell them."""
    most = sorted(counted, key=lambda one: -one[1].errors)[:_ASKED]
    pages = await asyncio.gather(
        *(asked.fleet.page(server, "/ended", dict[str, Any]) for server, _ in most), return_exceptions=True
    )
    blocks: list[Block] = []
    rows: list[dict[str, Any]] = []
    for (server, _), page in zip(most, pages, strict=True):
        if isinstance(page, PageError):
            blocks.append(Text(cut(f"{server.key} does not tell its ended calls: {page}"), "warning"))
        elif isinstance(page, BaseException):
            raise page
        else:
            told = page.get("ended")
            found = [row for row in told if isinstance(row, dict)] if isinstance(told, list) else []
            rows += [{"server": server.key, **row} for row in found if row.get("method") == name]
    rows.sort(key=lambda row: -row["ended"] if isinstance(row.get("ended"), float) else 0.0)
    return [*blocks, rows_table("calls that failed or were slow", rows)]

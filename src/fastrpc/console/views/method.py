"""One method: rate, errors by status and percentiles, in total and by server; and the last failed calls."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fastrpc.console.blocks import Block, Button, Buttons, Chart, ChartLine, Column, Facts, Text, ViewLink
from fastrpc.console.history import DURATION_SECONDS, TOTALS_SECONDS, SeriesKey, percentiles_of
from fastrpc.console.reading import PageError
from fastrpc.console.servers import FleetServer, MethodCounts
from fastrpc.console.views.base import (
    CHART_POINTS,
    PERCENTILE_SECONDS,
    Asked,
    Row,
    chart_of,
    cut,
    plain_table,
    rows_table,
    server_link,
)
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["view"]

#: The most servers that are asked for their ended calls; servers with the most failed calls come first.
_ASKED = 4

_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

_UNITS = {
    **dict.fromkeys(("calls per second", "errors per second"), "per second"),
    **dict.fromkeys(_PERCENTILES, "seconds"),
}
_BY_SERVER = (
    Column("server", "server"),
    Column("calls", "calls"),
    Column("failed", "failed"),
    Column("in_flight", "in flight"),
    *(Column(name, name, "seconds") for name in _PERCENTILES),
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show a method; arguments: service, method."""
    service, method = asked.argument("service"), asked.argument("method")
    key = ("method", service, method)
    history, servers = asked.fleet.history, asked.fleet.servers.values()
    counted = list(_counted(asked, service, method))
    if not history.has(key) and not counted and not _is_called(servers, service, method):
        raise CallError(Status.NOT_FOUND, f"no call of {cut(service)}.{cut(method)} was counted")
    rates = history.rates(key, PERCENTILE_SECONDS)
    percentiles = percentiles_of(history.durations(PERCENTILE_SECONDS, key), *_PERCENTILES.values())
    facts = {"calls per second": round(rates.calls, 3), "errors per second": round(rates.errors, 3)}
    lines = [
        ChartLine(name, [round(one, 2) for one in history.points(key, name, CHART_POINTS)])
        for name in ("calls", "errors")
    ]
    statuses = Counter[str]()
    for _, counts in counted:
        statuses.update(counts.calls)
    status_columns = (Column("status", "status"), Column("calls", "calls"))
    blocks: list[Block] = [
        Facts("last five minutes", {**facts, **dict(zip(_PERCENTILES, percentiles, strict=True))}, _UNITS),
        chart_of(asked, "calls", "per second", TOTALS_SECONDS, lines),
        _durations_chart(asked, key),
        plain_table(
            "calls by status, since the servers started",
            status_columns,
            [([status, count], None) for status, count in statuses.most_common()],
        ),
        plain_table(
            "by server, since it started", _BY_SERVER, [_row_of(one, counts) for one, counts in counted]
        ),
        Buttons([Button("service", ViewLink("service", {"service": service}))]),
    ]
    if asked.is_detailed:
        blocks += await _ended(asked, f"{service}.{method}", counted)
    return cut(f"{service}.{method}"), blocks


def _durations_chart(asked: Asked, key: SeriesKey) -> Chart:
    """Return the percentiles of each minute; a minute without calls has no percentiles."""
    found = [percentiles_of(one, *_PERCENTILES.values()) for one in asked.fleet.history.minutes(key)]
    lines = [
        ChartLine(name, [value if value is None else float(f"{value:.3g}") for value in values])
        for name, values in zip(_PERCENTILES, zip(*found, strict=True), strict=False)
    ]
    return chart_of(asked, "durations", "seconds", DURATION_SECONDS, lines)


def _is_called(servers: Iterable[FleetServer], service: str, method: str) -> bool:
    """Return whether a server counts calls of a method as a client."""
    return any(key[:2] == (service, method) for one in servers if service in one.called for key in one.counts)


def _counted(asked: Asked, service: str, method: str) -> Iterator[tuple[FleetServer, MethodCounts]]:
    """Yield the servers that served the method, with the counts of all protocols together."""
    for server in asked.fleet.servers.values():
        if service not in server.served:
            continue
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
    percentiles = percentiles_of(counts.durations, *_PERCENTILES.values())
    return [server.key, counts.total, counts.errors, counts.in_flight, *percentiles], server_link(server.key)


async def _ended(asked: Asked, name: str, counted: list[tuple[FleetServer, MethodCounts]]) -> list[Block]:
    """Return the ended calls that servers keep, the newest first, and name the servers that refuse to show them."""
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

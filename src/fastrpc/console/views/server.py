"""One server: facts, acts, processes, methods, endpoints as a client; and, with the right to details, its pages."""

from typing import Any, Final

import msgspec

from fastrpc.console.blocks import (
    Block,
    Button,
    Buttons,
    Column,
    Facts,
    Table,
    Text,
    Tree,
    TreeNode,
    ViewLink,
)
from fastrpc.console.history import percentiles_of
from fastrpc.console.pages import ProcessFigures
from fastrpc.console.reading import PageError
from fastrpc.console.servers import FleetServer
from fastrpc.console.views.acts import server_buttons
from fastrpc.console.views.base import (
    EVENTS,
    ROWS,
    Asked,
    cut,
    events_table,
    newest_rows_table,
    plain_table,
    quoted,
    rows_table,
    sorted_table,
    tree_of,
    unit_of,
)
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["view"]

#: The admin pages that a caller with the right to details may see, by the argument `show`.
_PAGES: Final = {
    "calls": "calls",
    "connections": "connections",
    "ended": "ended",
    "logs": "logs",
    "settings": "config",
    "stacks": "stacks",
}
#: Pages whose rows are searched, such as for the id of an error.
_NEWEST: Final = ("ended", "logs")
_METHODS = (
    *(Column(name, name) for name in ("service", "method", "side", "protocol", "calls", "failed")),
    Column("in_flight", "in flight"),
    *(Column(name, name, "seconds") for name in ("p50", "p95", "p99")),
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show a server.

    Arguments: `server`; in the detailed view also `show` (one of `_PAGES`), `search`, `sort` and `page`.
    """
    server = await asked.server()
    shown = asked.arguments.get("show")
    blocks: list[Block] = [_facts(asked, server)]
    if server.error is not None:
        blocks.append(Text(cut(server.error), "error"))
    if asked.is_detailed:
        blocks.append(
            Buttons(
                [Button(name, ViewLink("server", {"server": server.key, "show": name})) for name in _PAGES]
                + [Button("store", ViewLink("store", {"server": server.key}))]
            )
        )
    blocks += server_buttons(asked.fleet, server)
    if shown is not None:
        return cut(server.name), [*blocks, *await _page(asked, server, shown)]
    records = (Column("service", "service"), Column("address", "address"))
    rows = [(record, ViewLink("service", {"service": record[0]})) for record in sorted(server.records)]
    blocks.append(plain_table("records in the registry", records, rows))
    if server.page is not None:
        found = server.page.processes
        title = "processes" if len(found) <= ROWS else f"processes, {ROWS} of {len(found):,}"
        units = {name: unit_of(name) for name in ProcessFigures.__struct_fields__}
        blocks.append(Tree(title, [_process(one) for one in found[:ROWS]], units))
    blocks.append(_methods(asked, server))
    endpoints = [msgspec.structs.asdict(one) for one in server.endpoints]
    blocks.append(rows_table("endpoints that it calls", endpoints))
    if server.endpoints_error is not None:
        blocks.append(Text(cut(f"these are old or missing: {server.endpoints_error}"), "warning"))
    blocks.append(events_table(asked.fleet.events.last(EVENTS, place=server.key)))
    return cut(server.name), blocks


def _facts(asked: Asked, server: FleetServer) -> Facts:
    rates = asked.fleet.history.rates(("server", server.key), 60.0)
    facts = {"admin pages": cut(server.key), "state": server.state, "last read": server.read_time}
    page = server.page
    if page is not None:
        facts |= {"fastrpc": cut(page.fastrpc), "python": cut(page.python), "started": page.started}
        versions = ", ".join(f"{one.name} {one.version or ''}".strip() for one in page.services)
        facts |= {"services": cut(versions), "calls in flight": server.in_flight}
        levels = ", ".join(f"{name or 'all'} {level}" for name, level in page.log_levels.items())
        facts |= {"health": page.state, "log levels": cut(levels)}
        if page.records:
            weights = ", ".join(map(str, sorted({one.weight for one in page.records})))
            facts["records"] = "out" if page.records[0].is_out else cut(f"in, weight {weights}")
        if page.without:
            facts["processes that did not answer"] = cut(", ".join(map(str, page.without)))
    units = {"last read": "time", "started": "time", "calls per second": "per second"}
    return Facts("server", {**facts, "calls per second": round(rates.calls, 3)}, units)


def _process(process: ProcessFigures) -> TreeNode:
    facts = msgspec.structs.asdict(process)
    return TreeNode(cut(f"{facts.pop('role')} {facts.pop('process_id')}"), facts)


def _methods(asked: Asked, server: FleetServer) -> Table:
    rows = []
    for key, counts in server.counts.items():
        if counts.total or counts.in_flight:
            percentiles = percentiles_of(counts.durations, 0.5, 0.95, 0.99)
            cells = [*key, counts.total, counts.errors, counts.in_flight, *percentiles]
            rows.append((cells, ViewLink("method", {"service": key[0], "method": key[1]})))
    return sorted_table(asked, "methods since it started", _METHODS, rows, order="service")


async def _page(asked: Asked, server: FleetServer, shown: str) -> list[Block]:
    """Return an admin page of the server as blocks."""
    if not asked.is_detailed:
        raise CallError(
            Status.PERMISSION_DENIED,
            f"fastrpc.console shows no {cut(shown)} of servers: they may reveal single calls and their callers",
            hint="call fastrpc.console.detail.view with the same arguments; it needs the right to that service",
        )
    if shown not in _PAGES:
        raise CallError(Status.INVALID_ARGUMENT, f"show is {quoted(shown)}, it may be {', '.join(_PAGES)}")
    try:
        values = await asked.fleet.page(server, f"/{_PAGES[shown]}", dict[str, Any])
    except PageError as error:
        return [Text(cut(f"{shown}: {error}"), "error")]
    rows = values.get(_PAGES[shown])
    if not isinstance(rows, list):
        return [Tree(shown, tree_of(values))]
    return [newest_rows_table(asked, shown, rows) if shown in _NEWEST else rows_table(shown, rows)]

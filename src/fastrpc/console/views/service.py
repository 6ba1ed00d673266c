"""One service: its endpoints, methods, callers and callees, and events."""

from collections.abc import Iterator
from typing import Final

from fastrpc.console.blocks import (
    Block,
    Chart,
    ChartLine,
    Column,
    Facts,
    Graph,
    GraphEdge,
    GraphNode,
    Text,
    ViewLink,
)
from fastrpc.console.graph_layout import graph_layout
from fastrpc.console.history import TOTALS_SECONDS
from fastrpc.console.pages import MOST_METHODS
from fastrpc.console.servers import OTHER_CALLERS, FleetServer
from fastrpc.console.views.acts import out_buttons
from fastrpc.console.views.base import (
    CHART_POINTS,
    EVENTS,
    FIGURES,
    PERCENTILE_SECONDS,
    Asked,
    Row,
    chart_of,
    cut,
    events_table,
    figures_of,
    plain_table,
    quoted,
    server_link,
    sorted_table,
)
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["ENDPOINTS_TITLE", "view"]

#: A server reports its figures for all of its services together.
ENDPOINTS_TITLE: Final = "endpoints, with the figures of their servers"

#: Nodes of a graph: the service, and the neighbours that it has most calls with.
_MOST_NODES = 60

_ENDPOINTS = (
    Column("address", "address"),
    Column("version", "version"),
    Column("zone", "zone"),
    Column("weight", "weight"),
    Column("state", "state"),
    Column("read", "last read", "time"),
    *FIGURES,
)
_LINKS = (
    Column("way", "way"),
    Column("other", "service"),
    Column("rate", "calls/s", "per second"),
    Column("errors", "errors/s", "per second"),
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show a service; argument: service."""
    service, fleet = asked.argument("service"), asked.fleet
    servers = fleet.servers_of(service) or [one for one in fleet.servers.values() if service in one.services]
    if not servers:
        raise CallError(Status.NOT_FOUND, f"there is no service {quoted(service)}")
    for server in servers:
        fleet.show(server)
    blocks: list[Block] = []
    if not any(one.page is not None for one in servers):
        blocks.append(
            Text("Its servers have no admin pages that are read: these are the figures of its callers.")
        )
    blocks.append(_facts(asked, service))
    blocks.append(_chart(asked, service))
    blocks.append(plain_table(ENDPOINTS_TITLE, _ENDPOINTS, _endpoints(asked, service)))
    blocks += out_buttons(fleet, servers)
    columns = (Column("method", "method"), *FIGURES)
    blocks.append(sorted_table(asked, "methods", columns, _methods(asked, service, servers), order="method"))
    links = list(_links(asked, service))
    blocks.append(plain_table("callers and callees", _LINKS, [(row[:4], row[4]) for row in links]))
    blocks.append(_graph(service, links))
    blocks.append(events_table(fleet.events.last(EVENTS, service=service)))
    return cut(service), blocks


def _facts(asked: Asked, service: str) -> Facts:
    rates = asked.fleet.history.rates(("service", service), PERCENTILE_SECONDS)
    share = rates.errors / rates.calls if rates.calls else None
    mean = rates.seconds / rates.calls if rates.calls else None
    return Facts(
        "last five minutes",
        {"calls per second": round(rates.calls, 3), "share of errors": share, "mean": mean},
        {"calls per second": "per second", "share of errors": "share", "mean": "seconds"},
    )


def _chart(asked: Asked, service: str) -> Chart:
    """Return a stacked chart of the calls: successful calls, and failed calls."""
    history, key = asked.fleet.history, ("service", service)
    calls, errors = (history.points(key, field, CHART_POINTS) for field in ("calls", "errors"))
    lines = [
        ChartLine(
            "successful", [round(max(0.0, one - bad), 2) for one, bad in zip(calls, errors, strict=True)]
        ),
        ChartLine("failed", [round(bad, 2) for bad in errors]),
    ]
    return chart_of(asked, "calls", "per second", TOTALS_SECONDS, lines, is_stack=True)


def _endpoints(asked: Asked, service: str) -> Iterator[Row]:
    fleet, keys = asked.fleet, asked.fleet.keys_of(service)
    for address, endpoint in sorted(fleet.services.get(service, {}).items()):
        server = fleet.servers.get(keys[address])
        if server is None:
            continue
        record = (address, endpoint.version, endpoint.zone, endpoint.weight)
        figures = figures_of(asked, ("server", server.key))
        # A server that is ready gets no calls at an address that is taken out.
        state = "out" if endpoint.weight == 0 and server.state == "ready" else server.state
        yield [*record, state, server.read_time, *figures], server_link(server.key)


def _methods(asked: Asked, service: str, servers: list[FleetServer]) -> Iterator[Row]:
    """Yield the methods that were called in the last hour, and the methods that its servers counted before."""
    names = {key[2] for key in asked.fleet.history.keys("method", service)}
    for server in servers:
        # Pages are not trusted, and a view of too many methods would hold up the loop.
        if len(names) < MOST_METHODS:
            names |= {key[1] for key in server.counts if key[0] == service and key[2] == "server"}
    for name in sorted(names)[:MOST_METHODS]:
        link = ViewLink("method", {"service": service, "method": name})
        yield [name, *figures_of(asked, ("method", service, name))], link


def _links(asked: Asked, service: str) -> Iterator[tuple[str, str, float, float, ViewLink | None]]:
    """Yield callers and callees; calls that no caller in the fleet counted belong to "other callers"."""
    history = asked.fleet.history
    total = history.rates(("service", service), PERCENTILE_SECONDS)
    counted = failed = 0.0
    for key in sorted(history.keys("link")):
        if service not in key[1:]:
            continue
        rates = history.rates(key, PERCENTILE_SECONDS)
        way, other = ("calls it", key[1]) if key[2] == service else ("is called", key[2])
        if key[2] == service:
            counted, failed = counted + rates.calls, failed + rates.errors
        link = ViewLink("service", {"service": other}) if other in asked.fleet.services else None
        yield way, other, round(rates.calls, 3), round(rates.errors, 3), link
    # Two servers are polled at different instants, so small differences do not count.
    if asked.fleet.has_figures(service) and total.calls - counted > 0.05 * total.calls:
        errors = round(max(0.0, total.errors - failed), 3)
        yield "calls it", OTHER_CALLERS, round(total.calls - counted, 3), errors, None


def _graph(service: str, links: list[tuple[str, str, float, float, ViewLink | None]]) -> Graph:
    most = sorted(links, key=lambda row: -row[2])[: _MOST_NODES - 1]
    found: dict[str, ViewLink | None] = {cut(service): None}
    edges = []
    for way, other, rate, _, link in most:
        found.setdefault(cut(other), link)
        begin, end = (other, service) if way == "calls it" else (service, other)
        edges.append(GraphEdge(cut(begin), cut(end), rate))
    placed = graph_layout(list(found), [(edge.begin, edge.end) for edge in edges])
    nodes = [GraphNode(name, link, *placed.centres[name]) for name, link in found.items()]
    return Graph("neighbours", nodes, edges, placed.width, placed.height)

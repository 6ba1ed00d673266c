"""All services: their servers, their calls, and the durations of these calls."""

from collections.abc import Iterator

from fastrpc.console.blocks import Block, Button, Buttons, Column, Text, ViewLink
from fastrpc.console.views.base import FIGURES, Asked, Row, cut, figures_of, sorted_table

__all__ = ["view"]

_COLUMNS = (
    Column("service", "service"),
    Column("versions", "versions"),
    Column("up", "up"),
    Column("endpoints", "endpoints"),
    *FIGURES,
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show a table; arguments: search, sort, page."""
    fleet, blocks = asked.fleet, list[Block]()
    error = None if fleet.follower is None else fleet.follower.error
    if error is not None:
        blocks.append(
            Text(f"The registry cannot be asked, so its last lists are shown: {cut(error)}", "error")
        )
    elif not _names(asked):
        blocks.append(Text("There is no service yet: the registry lists none, and no target reports one."))
    blocks.append(sorted_table(asked, "services", _COLUMNS, _rows(asked), order="service"))
    blocks.append(Buttons([Button("store", ViewLink("store")), Button("console", ViewLink("console"))]))
    return "services", blocks


def _rows(asked: Asked) -> Iterator[Row]:
    fleet = asked.fleet
    for service in _names(asked):
        endpoints, keys = fleet.services.get(service, {}), fleet.keys_of(service)
        servers = fleet.servers_of(service)
        down = {one.key for one in servers if one.state in ("unreadable", "draining", "gone", "not ready")}
        up = sum(one.weight > 0 and keys[address] not in down for address, one in endpoints.items())
        versions = ", ".join(sorted({one.version for one in endpoints.values() if one.version}))
        cells = [service, versions, up, len(endpoints), *figures_of(asked, ("service", service))]
        yield cells, ViewLink("service", {"service": service})


def _names(asked: Asked) -> list[str]:
    """Return the services of the registry, and the services that targets report."""
    told = {
        one.name
        for server in asked.fleet.servers.values()
        if server.page is not None and server.is_target
        for one in server.page.services
    }
    return sorted(told | asked.fleet.services.keys())

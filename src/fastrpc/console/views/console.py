"""The console itself: its memory, its polls, the age of its data, and the data that it dropped."""

from collections import Counter
from collections.abc import Mapping

from fastrpc.console.blocks import Block, Cell, Column, Facts, Text
from fastrpc.console.servers import FleetServer
from fastrpc.console.views.base import EVENTS, Asked, Row, cut, events_table, server_link, sorted_table

__all__ = ["view"]

_COLUMNS = (
    Column("server", "server"),
    Column("services", "services"),
    Column("state", "state"),
    Column("read", "last read", "time"),
    Column("failures", "failed polls"),
    Column("kept", "figures", "bytes"),
    Column("left_out", "left out"),
    Column("error", "error"),
)


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show the console itself; arguments of the table of servers: search, sort, page."""
    fleet = asked.fleet
    history, events, follower = fleet.history, fleet.events, fleet.follower
    states = Counter(one.state for one in fleet.servers.values())
    facts: dict[str, Cell] = {
        "services": len(fleet.services),
        "servers": len(fleet.servers),
        **{f"servers {state}": count for state, count in sorted(states.items())},
        "polls": fleet.polls,
        "failed polls": fleet.failed_polls,
        "series": len(history),
        "bytes of series": history.bytes,
        "events": events.total,
        "bytes of figures": fleet.budget.kept_bytes,
    }
    blocks: list[Block] = [Facts("console", facts, _units(facts))]
    left_out = sum(one.left_out for one in fleet.servers.values())
    dropped = {
        "additions to series of figures over the most": history.dropped,
        "series of figures, from servers with most": history.displaced,
        "events, the oldest": events.dropped,
        "times the figures of the server with most, which were over the budget": fleet.budget.cuts,
        "methods and rows of the last figures that were over the memory of their servers": left_out,
        "records of servers over the most": len(fleet.left_out),
        "services over the most": 0 if follower is None else follower.left_out,
    }
    blocks += [Text(f"Dropped: {count:,} {name}.", "warning") for name, count in dropped.items() if count]
    if follower is not None and follower.error is not None:
        blocks.append(Text(f"The registry cannot be asked: {cut(follower.error)}", "error"))
    blocks.append(sorted_table(asked, "servers", _COLUMNS, map(_row, fleet.servers.values()), order="read"))
    blocks.append(events_table(events.last(EVENTS)))
    return "console", blocks


def _units(facts: Mapping[str, Cell]) -> dict[str, str]:
    return {name: "bytes" for name in facts if name.startswith("bytes of ")}


def _row(server: FleetServer) -> Row:
    cells = [server.key, server.name, server.state, server.read_time, server.failures]
    return [*cells, server.kept_bytes, server.left_out, server.error], server_link(server.key)

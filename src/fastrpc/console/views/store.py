"""The stores of servers: their size; with the right to details also keys, leases, locks and leaders."""

from typing import Any

from fastrpc.console.blocks import Block, Column, Facts, Text, ViewLink
from fastrpc.console.reading import PageError
from fastrpc.console.views.base import Asked, cut, plain_table, rows_table, tree_of, unit_of

__all__ = ["view"]

_DETAILS = {"locks": "locks", "leaders": "leaders", "leases": "leases", "items": "keys"}


async def view(asked: Asked) -> tuple[str, list[Block]]:
    """Show the store of a server; argument: server. Without it the servers are listed."""
    if "server" not in asked.arguments:
        columns = (Column("server", "server"), Column("services", "services"), Column("state", "state"))
        rows = [
            ([one.key, one.name, one.state], ViewLink("store", {"server": one.key}))
            for one in asked.fleet.servers.values()
            if one.page is not None
        ]
        return "store", [plain_table("servers", columns, rows)]
    server = await asked.server()
    title = cut(f"store of {server.name}")
    try:
        values = await asked.fleet.page(server, "/store", dict[str, Any])
    except PageError as error:
        return title, [Text(cut(str(error)), "error")]
    figures = values.get("store")
    if not isinstance(figures, dict):
        return title, [Text("This server holds no store.")]
    facts = {node.name: node.facts.get("value") for node in tree_of(figures)}
    blocks: list[Block] = [Facts("store", facts, {name: unit_of(name) for name in facts})]
    if asked.is_detailed:
        blocks += [rows_table(title, values.get(name)) for name, title in _DETAILS.items()]
    return title, blocks

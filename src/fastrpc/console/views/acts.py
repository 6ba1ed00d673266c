"""Buttons for acts on servers. Each act carries the values that the view shows as `was`."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from fastrpc.console.blocks import Act, Block, Button, Buttons, Text
from fastrpc.console.fleet import Fleet
from fastrpc.console.pages import FiguresPage
from fastrpc.console.reading import PageError
from fastrpc.console.servers import FleetServer
from fastrpc.console.views.base import cut
from fastrpc.rpc.service import BUILTIN_PREFIX
from fastrpc.server.admin.acts import LEVELS

__all__ = ["out_buttons", "server_buttons"]

#: MOST_BUTTONS: the most buttons in a view of many servers. MOST_SERVICES: the most services of a server that get a
#: button each.
MOST_BUTTONS: Final = 60
MOST_SERVICES: Final = 20

#: The values of health that an act may expect, by the shown state. If workers differ, an act in either direction
#: repairs the difference.
_HEALTH: Final = {"SERVING": (True,), "NOT_SERVING": (False,), "NOT_SERVING, SERVING": (False, True)}


def out_buttons(fleet: Fleet, servers: Iterable[FleetServer]) -> list[Block]:
    """Return a button for each of the first servers, which takes the server out or puts it in; none if all refuse acts.

    Where there are more servers, a text says so.
    """
    found = [
        button
        for server in servers
        if _takes_acts(fleet, server)
        for button in _out_or_in(server, f" {server.key}")
    ]
    blocks = _block(found[:MOST_BUTTONS])
    if len(found) > MOST_BUTTONS:
        text = f"{MOST_BUTTONS} of {len(found):,} servers have buttons here; every server has them in its own view."
        blocks.append(Text(text))
    return blocks


def server_buttons(fleet: Fleet, server: FleetServer) -> list[Block]:
    """Return the buttons for all acts that a server accepts now; no buttons if it accepts no acts."""
    page = server.page
    if page is None or not _takes_acts(fleet, server):
        return []
    # A server that drains refuses all acts except changes of log levels.
    found = list(_levels(server, page))
    if not page.draining:
        found = [*_out_or_in(server), *_weight(server, page), *_serving(server, page), *found]
        found += _orders(server, page)
    blocks = _block(found)
    services = sum(not one.name.startswith(BUILTIN_PREFIX) for one in page.services)
    if services > MOST_SERVICES and page.state == "SERVING" and not page.draining:
        blocks.append(Text(f"{MOST_SERVICES} of {services:,} services have buttons here."))
    return blocks


def _block(buttons: list[Button]) -> list[Block]:
    return [Buttons(buttons)] if buttons else []


def _takes_acts(fleet: Fleet, server: FleetServer) -> bool:
    """Return whether the console sends acts to a server that reports its state."""
    if server.page is None or server.error is not None:
        return False
    try:
        fleet.address_for_acts(server)
    except PageError:
        return False
    return True


def _button(title: str, name: str, server: FleetServer, *asks: str, **values: Any) -> Button:
    return Button(title, act=Act(name, [server.key], values, list(asks)))


def _out_or_in(server: FleetServer, of: str = "") -> Iterator[Button]:
    page = server.page
    if page is None or not page.records or page.draining:
        return
    if page.records[0].is_out:
        yield _button(f"put in{of}", "in", server, was=True)
    else:
        yield _button(f"take out{of}", "out", server, was=False)


def _weight(server: FleetServer, page: FiguresPage) -> Iterator[Button]:
    if not page.records or page.records[0].is_out:
        return
    weights = sorted({one.weight for one in page.records})
    shown = ", ".join(map(str, weights))
    was = weights[0] if len(weights) == 1 else weights
    yield _button(f"change the weight, {cut(shown)} now", "weight", server, "weight", was=was)
    # After an act on the weight, this act restores the configured weight.
    if any(one.weight != one.configured_weight for one in page.records):
        yield _button("restore the configured weight", "in", server, was=False)


def _serving(server: FleetServer, page: FiguresPage) -> Iterator[Button]:
    states = [("", page.state), *((one.name, one.state) for one in page.services)]
    shown = [one for one in states if not one[0].startswith(BUILTIN_PREFIX)]
    for service, state in shown[: 1 + MOST_SERVICES]:
        # While the server is set not to serve, the settings of its services have no effect.
        if service and page.state != "SERVING":
            continue
        of = f"service {cut(service)}" if service else "server"
        for was in _HEALTH.get(state, ()):
            title = f"set the {of} {'not to serve' if was else 'to serve'}"
            yield _button(title, "serving", server, service=service, serving=not was, was=was)


def _levels(server: FleetServer, page: FiguresPage) -> Iterator[Button]:
    for logger, level in page.log_levels.items():
        of, levels = cut(logger) or "all loggers", level.split(", ")
        if len(levels) == 1:
            title = f"change the log level of {of}, {cut(level)} now"
            yield _button(title, "log_level", server, "level", logger=logger, was=level)
        elif len(levels) == 2 and all(one in LEVELS for one in levels):
            # If workers have two levels, the act sets all workers to one of them. With more levels there is no act.
            for was, wanted in (levels, levels[::-1]):
                title = f"set the log level of {of} to {wanted}, {cut(level)} now"
                yield _button(title, "log_level", server, logger=logger, level=wanted, was=was)


def _orders(server: FleetServer, page: FiguresPage) -> Iterator[Button]:
    was = {"server": page.server}
    if any(one.role == "worker" for one in page.processes):
        yield _button("replace the workers", "roll", server, was=was)
    yield _button("drain", "drain", server, was=was)

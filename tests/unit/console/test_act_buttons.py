"""Buttons for acts: the views that have them, and that each carries the form that the server accepts at that time."""

import logging
from pathlib import Path
from typing import Any

import pytest

from fastrpc.console.acts import act_on
from fastrpc.console.allowed import LOOPBACK, AllowedServers
from fastrpc.console.blocks import Act, Buttons, Facts, Text
from fastrpc.console.fleet import Fleet
from fastrpc.console.pages import FiguresPage, ProcessFigures, RegistryRecord, ServedService
from fastrpc.console.service import made_view
from fastrpc.console.views.acts import MOST_BUTTONS, out_buttons, server_buttons
from fastrpc.coordination import RegistryServer
from fastrpc.endpoint import Address, Endpoint
from fastrpc.server.admin.acts import check_was
from tests.support.acted_records import acted_server
from tests.support.admin_pages import OPERATOR

pytestmark = pytest.mark.one_loop

IN, OUT = RegistryRecord(1, 1, is_out=False), RegistryRecord(0, 1, is_out=True)


def page_of(**fields: Any) -> FiguresPage:
    served = [ServedService("acted", state="SERVING")]
    known = {"state": "SERVING", "log_levels": {"": "info"}, "services": served, "records": [IN]}
    return FiguresPage("a1", 1, 1.0, [], **known | fields)


def fleet_of(*pages: FiguresPage, **options: Any) -> Fleet:
    fleet = Fleet(None, AllowedServers(LOOPBACK, **options))
    for number, page in enumerate(pages, 1):
        admin = f"tcp://127.0.0.1:{20_000 + number}"
        known = fleet.services.get("acted", {}).values()
        fleet.set_endpoints("acted", [*known, Endpoint(f"tcp://127.0.0.1:{number}", labels={"admin": admin})])
        server = fleet.servers[admin]
        fleet._take(server, server.count(page, "acted", fleet.has_figures, is_whole=True))
    return fleet


def acts_of(page: FiguresPage, **options: Any) -> list[tuple[str, dict[str, Any], list[str]]]:
    fleet = fleet_of(page, **options)
    [server] = fleet.servers.values()
    acts = [one.act for block in server_buttons(fleet, server) for one in getattr(block, "buttons", [])]
    assert all(act is not None and act.servers == [server.key] for act in acts)
    return [(act.name, act.values, act.asks) for act in acts if act is not None]


def names_of(page: FiguresPage, **options: Any) -> list[str]:
    return [name for name, _, _ in acts_of(page, **options)]


def test_a_server_has_each_act_that_it_may_take_now() -> None:
    workers = [ProcessFigures(7, "worker")]
    assert acts_of(page_of(processes=workers)) == [
        ("out", {"was": False}, []),
        ("weight", {"was": 1}, ["weight"]),
        ("serving", {"service": "", "serving": False, "was": True}, []),
        ("serving", {"service": "acted", "serving": False, "was": True}, []),
        ("log_level", {"logger": "", "was": "info"}, ["level"]),
        ("roll", {"was": {"server": "a1"}}, []),
        ("drain", {"was": {"server": "a1"}}, []),
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"records": [OUT]}, ["in", "serving", "serving", "log_level", "drain"]),
        ({"records": []}, ["serving", "serving", "log_level", "drain"]),
        # The weight is another one than the configured: it can be restored.
        (
            {"records": [RegistryRecord(5, 1, is_out=False)], "services": []},
            ["out", "weight", "in", "serving", "log_level", "drain"],
        ),
        ({"state": "NOT_SERVING"}, ["out", "weight", "serving", "log_level", "drain"]),
        (
            {"state": "NOT_SERVING, SERVING", "services": []},
            ["out", "weight", "serving", "serving", "log_level", "drain"],
        ),
        ({"draining": True}, ["log_level"]),
        # A server before this version reports no health and no levels.
        ({"state": "", "log_levels": {}}, ["out", "weight", "drain"]),
    ],
)
def test_no_button_is_for_an_act_that_would_be_refused(fields: dict[str, Any], expected: list[str]) -> None:
    assert names_of(page_of(**fields)) == expected


def test_records_of_different_weights_are_all_in_was() -> None:
    records = [RegistryRecord(weight, weight, is_out=False) for weight in (9, 1, 9)]
    assert ("weight", {"was": [1, 9]}, ["weight"]) in acts_of(page_of(records=records))


def test_a_server_that_gets_no_acts_has_no_buttons() -> None:
    assert names_of(page_of(), takes_acts=False) == []
    fleet = fleet_of(page_of())
    [server] = fleet.servers.values()
    server.error = "it cannot be read"
    assert server_buttons(fleet, server) == out_buttons(fleet, [server]) == []


async def test_a_service_has_a_button_for_each_of_its_first_servers() -> None:
    fleet = fleet_of(*[page_of(records=[OUT if number % 2 else IN]) for number in range(100)])
    view = await made_view(fleet, "service", {"service": "acted"}, is_detailed=False)
    [buttons] = [one for one in view.blocks or () if isinstance(one, Buttons)]
    assert len(buttons.buttons) == MOST_BUTTONS
    found = [one.act for one in buttons.buttons]
    assert found[:2] == [
        Act("out", ["tcp://127.0.0.1:20001"], {"was": False}),
        Act("in", ["tcp://127.0.0.1:20002"], {"was": True}),
    ]
    assert buttons.buttons[0].title == "take out tcp://127.0.0.1:20001"
    texts = [one.text for one in view.blocks or () if isinstance(one, Text)]
    assert texts == ["60 of 100 servers have buttons here; every server has them in its own view."]


def test_a_view_with_all_buttons_mentions_no_further_servers() -> None:
    fleet = fleet_of(*[page_of()] * MOST_BUTTONS)
    [buttons] = out_buttons(fleet, fleet.servers.values())
    assert isinstance(buttons, Buttons)
    assert len(buttons.buttons) == MOST_BUTTONS


def test_a_server_with_more_services_than_buttons_says_so() -> None:
    names = [f"s{number}" for number in range(30)] + ["fastrpc.console", "fastrpc.health"]
    services = [ServedService(name, state="SERVING") for name in names]
    fleet = fleet_of(page_of(services=services))
    [_, text] = server_buttons(fleet, *fleet.servers.values())
    assert text == Text("20 of 30 services have buttons here.")


def test_workers_with_two_levels_get_one_of_these() -> None:
    # Neither act is refused, whichever of the workers is asked for its level first.
    for was, wanted in (("debug", "info"), ("info", "debug")):
        check_was(was, wanted, {1: "debug", 2: "info"})
    assert [one for one in acts_of(page_of(log_levels={"": "debug, info"})) if one[0] == "log_level"] == [
        ("log_level", {"logger": "", "level": "info", "was": "debug"}, []),
        ("log_level", {"logger": "", "level": "debug", "was": "info"}, []),
    ]
    # Three levels, and a level that no act gives, are refused in every direction.
    assert "log_level" not in names_of(
        page_of(log_levels={"": "debug, error, info", "fastrpc": "debug, level 7"})
    )


async def pressed(fleet: Fleet, key: str, title: str, **given: Any) -> None:
    """Read a server, and ask for the act of the button whose title begins so."""
    await fleet.poll(is_forced=True)
    view = await made_view(fleet, "server", {"server": key}, is_detailed=False)
    buttons = [button for one in view.blocks or () if isinstance(one, Buttons) for button in one.buttons]
    [act] = [button.act for button in buttons if button.title.startswith(title)]
    assert act is not None
    assert set(act.asks) == set(given)
    [answer] = await act_on(fleet, act.name, act.servers, act.values | given, OPERATOR)
    assert (answer.status, answer.text) == (200, ""), (title, answer)


@pytest.mark.usefixtures("patient")
async def test_a_real_server_takes_the_act_of_each_button(tmp_path: Path) -> None:
    logger = logging.getLogger("fastrpc")
    before = logger.level
    async with RegistryServer("tcp://127.0.0.1:0") as registry:
        async with acted_server("a", registry.url, tmp_path) as (server, _):
            admin = server.admin.address
            assert isinstance(admin, Address)
            fleet, key = Fleet(None, AllowedServers(), targets=[admin]), str(admin)
            try:
                await pressed(fleet, key, "take out")
                await pressed(fleet, key, "put in")
                await pressed(fleet, key, "change the weight, 1 now", weight=7)
                await pressed(fleet, key, "restore the configured weight")
                await pressed(fleet, key, "set the service who not to serve")
                await pressed(fleet, key, "set the service who to serve")
                await pressed(fleet, key, "set the server not to serve")
                await pressed(fleet, key, "set the server to serve")
                await pressed(fleet, key, "change the log level of fastrpc", level="error")
                await pressed(fleet, key, "drain")
            finally:
                logger.setLevel(before)
                await fleet.__aexit__(None, None, None)


async def test_the_view_of_a_server_shows_the_values_that_its_acts_change() -> None:
    fleet = fleet_of(page_of(log_levels={"": "info", "fastrpc": "error"}))
    [server] = fleet.servers.values()
    view = await made_view(fleet, "server", {"server": server.key}, is_detailed=False)
    facts = next(one.facts for one in view.blocks or () if isinstance(one, Facts))
    shown = {name: facts[name] for name in ("health", "log levels", "records")}
    assert shown == {"health": "SERVING", "log levels": "all info, fastrpc error", "records": "in, weight 1"}

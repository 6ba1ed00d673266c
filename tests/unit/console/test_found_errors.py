"""From the id that a caller got to the failed call in the console."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

import fastrpc
from fastrpc import CallError, Client, Status
from fastrpc.console.allowed import AllowedServers
from fastrpc.console.blocks import Table
from fastrpc.console.fleet import Fleet
from fastrpc.console.service import made_view
from fastrpc.endpoint import Endpoint
from tests.support.admin_liar import admin_liar, answered
from tests.support.admin_pages import server_with_pages

pytestmark = pytest.mark.one_loop


@fastrpc.service("failing")
class Failing:
    @fastrpc.method
    async def crash(self) -> None:
        raise ValueError("a secret")

    @fastrpc.method
    async def refuse(self) -> None:
        raise CallError(Status.NOT_FOUND, "there is no coffee")


@asynccontextmanager
async def fleet_of(admin: str) -> AsyncIterator[Fleet]:
    fleet = Fleet(None, AllowedServers())
    fleet.set_endpoints("failing", [Endpoint("tcp://127.0.0.1:1", labels={"admin": admin})])
    try:
        yield fleet
    finally:
        await fleet.__aexit__(None, None, None)


async def table_of(
    fleet: Fleet, name: str, title: str, **arguments: str
) -> tuple[list[dict[str, object]], str]:
    """Return the rows of a table by the names of its columns, and its order."""
    view = await made_view(fleet, name, arguments, is_detailed=True)
    [table] = [one for one in view.blocks or () if isinstance(one, Table) and one.title == title]
    names = [column.name for column in table.columns]
    return [dict(zip(names, row, strict=True)) for row in table.rows], table.order


async def test_the_id_of_an_error_leads_to_its_call_and_its_log_record() -> None:
    async with server_with_pages(Failing()) as server:
        key = str(server.admin.address)
        async with fleet_of(key) as fleet, Client(await server.listen("tcp://127.0.0.1:0")) as client:
            with pytest.raises(CallError) as crashed:
                await client.call("failing.crash")
            with pytest.raises(CallError):
                await client.call("failing.refuse")
            found = crashed.value.message.rpartition("under id ")[2]
            await fleet.poll(is_forced=True)
            rows, order = await table_of(fleet, "server", "ended", server=key, show="ended", search=found)
            assert [(row["method"], row["error_id"]) for row in rows] == [("failing.crash", found)]
            assert order == "-ended"
            rows, _ = await table_of(fleet, "server", "ended", server=key, show="ended", search="NOT_FOUND")
            assert [(row["method"], row["error_id"]) for row in rows] == [("failing.refuse", None)]
            rows, _ = await table_of(fleet, "server", "logs", server=key, show="logs", search=found)
            assert [row["text"] for row in rows] == [f"failing.crash failed [{found}]"]
            title = "calls that failed or were slow"
            rows, _ = await table_of(fleet, "method", title, service="failing", method="crash")
            assert [row["error_id"] for row in rows] == [found]


async def test_rows_of_a_server_with_numbers_and_texts_in_a_column_are_sorted() -> None:
    told = [{"ended": one, "method": "m"} for one in (2.0, "b", None, True, [1], "A", 3)]
    with admin_liar(answered(json.dumps({"ended": told}).encode())) as liar:
        async with fleet_of(liar.address) as fleet:
            arguments = {"server": liar.address, "show": "ended", "sort": "ended"}
            rows, _ = await table_of(fleet, "server", "ended", **arguments)
            assert [row["ended"] for row in rows] == [True, 2.0, 3, "[1]", "A", "b", None]


async def test_a_page_without_rows_is_shown_as_an_empty_table() -> None:
    async with server_with_pages(Failing()) as server:
        key = str(server.admin.address)
        async with fleet_of(key) as fleet:
            assert await table_of(fleet, "server", "ended", server=key, show="ended", sort="-ended") == (
                [],
                "",
            )

"""A console over two servers: its view, and one server that is taken out and put in again while calls continue."""

import asyncio
import contextlib
import json
import os
import subprocess
import tempfile
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from demo_process import Process, check, command, say

import fastrpc

__all__ = ["Shelf", "show_console"]

#: The operator's, which a person types into the page; the console keeps it nowhere.
OPERATOR = "the-token-of-an-operator-of-the-demonstration"

#: The service of a console that makes its views.
SERVICE = "fastrpc.console"

#: The title of a table in the view of a service.
ENDPOINTS = "endpoints, with the figures of their servers"


@fastrpc.service("shelf")
class Shelf:
    @fastrpc.method(idempotent=True)
    async def count(self, item: str) -> int:
        return len(item)


class Console:
    """`fastrpc console` of a registry, as its page calls it."""

    def __init__(self, registry: str) -> None:
        # Acts carry a token to the named servers only.
        options = ["--registry", registry, "--servers", "127.0.0.1", "--address", "http://127.0.0.1:0"]
        options += ["--log-level", "error"]
        self._process = subprocess.Popen(command("console", *options), stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._origin, _, self._token = self._process.stdout.readline().split()[-1].partition("/#token=")

    def call(self, method: str, **arguments: Any) -> Any:
        """Call a method of the console by HTTP."""
        service, _, name = method.rpartition(".")
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        content = json.dumps(arguments).encode()
        asked = urllib.request.Request(f"{self._origin}/{service}/{name}", content, headers)
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.load(answer)

    def table(self, title: str, name: str, **arguments: str) -> list[dict[str, Any]]:
        """Return a table of a view: each row as a dictionary, with the view that the row opens as `link`."""
        view = self.call(f"{SERVICE}.view", name=name, arguments=arguments)
        table = next(block for block in view["blocks"] if block.get("title") == title)
        names = [column["name"] for column in table["columns"]]
        links = table["links"] or [None] * len(table["rows"])
        return [
            dict(zip(names, row, strict=True)) | {"link": link}
            for row, link in zip(table["rows"], links, strict=True)
        ]

    async def act(self, name: str, server: str) -> bool:
        """Press a button on the view of a server as the operator, once it is shown; return whether the act was done."""
        async with asyncio.timeout(30):
            while not (
                acts := [one for one in await asyncio.to_thread(self._acts, server) if one["name"] == name]
            ):
                await asyncio.sleep(0.1)
        values = {key: acts[0][key] for key in ("name", "servers", "values")}
        [answer] = await asyncio.to_thread(self.call, f"{SERVICE}.act.act", **values, token=OPERATOR)
        return bool(answer["status"] == 200)

    def _acts(self, server: str) -> list[dict[str, Any]]:
        view = self.call(f"{SERVICE}.view", name="server", arguments={"server": server})
        buttons = [one for block in view["blocks"] for one in block.get("buttons", ())]
        return [one["act"] for one in buttons if one["act"]]

    def close(self) -> None:
        """End the console."""
        self._process.kill()
        self._process.communicate()


async def show_console(registry: str) -> None:
    """Show two servers on one page, and act on one of them."""
    say("A console over all servers of the registry: fastrpc console --registry registry://…")
    with tempfile.TemporaryDirectory() as folder:
        operators = Path(folder, "operators.toml")
        operators.write_text(f'[[token]]\ntoken = "{OPERATOR}"\nname = "ada"\n')
        os.environ |= {
            "FASTRPC_ADMIN_ADDRESS": "tcp://127.0.0.1:0",
            "FASTRPC_ADMIN_OPERATORS": str(operators),
        }
        try:
            options = ("--address", "tcp://127.0.0.1:0", "--registry", registry)
            servers = [Process("run", "demo_console:Shelf", *options) for _ in range(2)]
        finally:
            del os.environ["FASTRPC_ADMIN_ADDRESS"], os.environ["FASTRPC_ADMIN_OPERATORS"]
        try:
            addresses = [await asyncio.to_thread(server.wait_started, "addresses") for server in servers]
            await _show_views(registry, addresses)
        finally:
            for server in servers:
                server.close()


async def _show_views(registry: str, addresses: list[str]) -> None:
    console = await asyncio.to_thread(Console, registry)
    try:
        async with fastrpc.Client(f"{registry}/shelf") as client, calling(client) as places:
            await until_called(places, *addresses)
            rows = await _show_service(console)
            [chosen] = [row["link"]["arguments"]["server"] for row in rows if row["address"] == addresses[0]]
            is_out = await console.act("out", chosen)
            check(
                is_out, f"the operator takes {addresses[0]} out, with a token that the console keeps nowhere"
            )
            await until_called(places, addresses[1])
            check(True, f"all calls go to {addresses[1]}")
            is_in = await console.act("in", chosen)
            await until_called(places, *addresses)
            check(is_in, "and puts it in again: both have calls, and none has failed")
    finally:
        console.close()


async def _show_service(console: Console) -> list[dict[str, Any]]:
    """Ask for the view of the service until it has the calls of both servers; return its rows."""
    async with asyncio.timeout(30):
        while True:
            rows = await asyncio.to_thread(console.table, ENDPOINTS, "service", service="shelf")
            if len(rows) == 2 and all(row["rate"] for row in rows):
                break
            await asyncio.sleep(0.1)
    for row in rows:
        say(
            f"      {row['address']}  {row['state']}  {row['rate']:,.0f} calls/s  {row['errors']:,.0f} errors/s"
        )
    check(
        sum(row["errors"] for row in rows) == 0, "its view of the service shelf has the rates of both servers"
    )
    return rows


@contextlib.asynccontextmanager
async def calling(client: fastrpc.Client) -> AsyncIterator[Counter[str]]:
    """Keep calls running inside the block, none of which may fail; yield the number that each server answered."""
    places: Counter[str] = Counter()
    is_over = False

    async def caller() -> None:
        view = client.with_options(timeout=20)
        while not is_over:
            reply = await view.request(Shelf.count, "pear")
            places[str(reply.endpoint)] += 1
            await asyncio.sleep(0.01)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(caller())
        try:
            yield places
        finally:
            is_over = True


async def until_called(places: Counter[str], *addresses: str) -> None:
    """Wait until 100 answers in succession came from these servers, and from each of them."""
    places.clear()
    async with asyncio.timeout(30):
        while places.total() < 100 or set(places) != set(addresses):
            if set(places) - set(addresses):
                places.clear()
            await asyncio.sleep(0.01)

"""`fastrpc console` as a program, and the requests of a test to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.http_talk import HttpClient, Response
from tests.support.program import Program, command_line

__all__ = ["Viewed", "viewed"]


class Viewed:
    """A console that runs, and a connection to it."""

    def __init__(self, program: Program, http: HttpClient, token: str) -> None:
        self.program, self.http = program, http
        #: The fields of requests that show the token.
        self.shown: dict[str, str] = {}
        self.show(token)

    def show(self, token: str | None) -> None:
        """Show another token from now on; None shows no token."""
        self.shown = {"Authorization": f"Bearer {token}"} if token else {}

    async def post(self, path: str, values: Any, **fields: str) -> Response:
        return await self.http.post(path, values, **self.shown, **fields)

    async def view(self, name: str, **arguments: str) -> dict[str, Any]:
        asked = {"name": name, "arguments": arguments}
        answer = await self.post("/fastrpc.console/view", asked)
        assert answer.status == 200, answer.value
        found: dict[str, Any] = answer.value
        return found

    async def rows(self, title: str, name: str, **arguments: str) -> list[dict[str, Any]]:
        """Return the rows of a table by the names of its columns."""
        blocks = (await self.view(name, **arguments))["blocks"]
        [table] = [one for one in blocks if one.get("title") == title and one["kind"] == "Table"]
        names = [column["name"] for column in table["columns"]]
        return [dict(zip(names, row, strict=True)) for row in table["rows"]]

    async def until(self, title: str, name: str, expected: dict[str, list[Any]], **arguments: str) -> None:
        """Wait until the columns of a table have these values."""
        async with asyncio.timeout(60):
            while True:
                rows = await self.rows(title, name, **arguments)
                found = {column: [row[column] for row in rows] for column in expected}
                if found == expected:
                    return
                await asyncio.sleep(0.1)

    async def until_error(self, *, is_there: bool) -> None:
        """Wait until the view of services shows an error, or shows none."""
        async with asyncio.timeout(60):
            while True:
                blocks = (await self.view("services"))["blocks"]
                if is_there == any("registry cannot be asked" in str(one.get("text")) for one in blocks):
                    return
                await asyncio.sleep(0.1)


@asynccontextmanager
async def viewed(folder: Path, *arguments: str) -> AsyncIterator[Viewed]:
    command = ["console", "--address", "http://127.0.0.1:0", *arguments]
    with command_line(command, folder) as program:
        port = await asyncio.to_thread(
            program.wait_output, r"console at http://127\.0\.0\.1:(\d+)(?:/#token=(\S+))?\n"
        )
        async with await HttpClient.to(f"tcp://127.0.0.1:{port[1]}") as http:
            yield Viewed(program, http, port[2])

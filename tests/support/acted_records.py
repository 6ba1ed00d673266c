"""Servers whose records in a registry operators change: of one process, or of several workers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastrpc import Server, ServerConfig
from tests.support.admin_pages import Answer, fetch, operators_file, port_of, post_act
from tests.support.paced_calls import PacedCalls
from tests.support.program import Program
from tests.support.source_tree import ROOT
from tests.support.who import Who

__all__ = ["ActedRecords", "acted_server", "acted_workers", "change_records", "roll_and_drain"]

WORKERS = 3

PROGRAM = """
import logging
import sys

import fastrpc
from fastrpc.workers.monitoring import acted_workers, monitor
from tests.support.who import Who

# A busy machine holds a process up for longer.
monitor.ANSWER_SECONDS = 2.0
acted_workers.SILENT_SECONDS = float("inf")
acted_workers.ACT_SECONDS = 4.0

logging.basicConfig(level=logging.INFO)
if __name__ == "__main__":
    fastrpc.serve(
        lambda: Who("a"),
        address="tcp://127.0.0.1:0",
        workers=int(sys.argv[1]),
        registry=sys.argv[2],
        config=fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators="operators.toml"),
    )
"""


class ActedRecords:
    """The admin pages of a server that is registered."""

    def __init__(self, port: int, running: "Program | asyncio.Task[None]") -> None:
        self.port = port
        self._running = running

    @property
    def program(self) -> Program:
        """The program of the workers."""
        assert isinstance(self._running, Program)
        return self._running

    async def logged(self, pattern: str) -> None:
        """Wait until the program has logged something."""
        await asyncio.to_thread(self.program.wait_errors, pattern)

    async def ended(self) -> None:
        """Wait until the server has ended by itself."""
        if isinstance(self._running, Program):
            assert (await asyncio.to_thread(self._running.wait)).code == 0
        else:
            async with asyncio.timeout(60):
                await self._running

    async def act(self, name: str, **values: Any) -> Answer:
        """Ask for an act, again as long as the process that registers the server is not there."""
        async with asyncio.timeout(60):
            while True:
                answer = await asyncio.to_thread(post_act, self.port, name, **values)
                if answer.status != HTTPStatus.SERVICE_UNAVAILABLE:
                    return answer

    async def done(self, name: str, **values: Any) -> tuple[Any, Any]:
        """Ask for an act that the registry takes, and return the values before and after."""
        answer = await self.act(name, **values)
        assert (answer.status, answer.json.get("problem"), answer.json.get("without")) == (200, None, [])
        return answer.json["before"], answer.json["after"]

    async def refused(self, name: str, **values: Any) -> Any:
        """Ask for an act that saw another value, and return the value now."""
        answer = await self.act(name, **values)
        assert (answer.status, answer.json["error"]) == (
            409,
            "the value has changed meanwhile, nothing was changed",
        )
        return answer.json["now"]

    async def page(self, path: str) -> Any:
        """Return the values of a page."""
        answer = await asyncio.to_thread(fetch, self.port, path, Accept="application/json")
        assert answer.status == 200
        return json.loads(answer.content)

    async def shown(self) -> dict[str, Any]:
        """Return the values of the records of the service, which two pages show."""
        [service] = (await self.page("/services"))["services"]
        [of_figures] = (await self.page("/figures"))["services"]
        assert of_figures.items() <= service.items()
        return {name: service[name] for name in ("is_out", "weight", "configured_weight")}

    async def process(self, role: str) -> int:
        """Return the process of a purpose."""
        async with asyncio.timeout(60):
            while True:
                processes = (await self.page("/figures"))["processes"]
                for one in processes:
                    if one["role"] == role:
                        return int(one["process_id"])

    async def identity(self) -> dict[str, str]:
        """Return the server, as orders name it."""
        return {"server": (await self.page("/figures"))["server"]}


@asynccontextmanager
async def acted_server(name: str, registry: Any, folder: Path) -> AsyncIterator[tuple[Server, ActedRecords]]:
    """Serve a name in this process."""
    operators = operators_file(folder)
    config = ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators=operators)
    async with Server(Who(name), registry=registry, config=config) as server:
        await server.listen("tcp://127.0.0.1:0")
        serving = asyncio.ensure_future(server.serve_forever())
        try:
            yield server, ActedRecords(port_of(server), serving)
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


@asynccontextmanager
async def acted_workers(registry: str, folder: Path) -> AsyncIterator[ActedRecords]:
    """Serve the name "a" in several workers."""
    (folder / "acted.py").write_text(PROGRAM)
    operators_file(folder)
    arguments = ["acted.py", str(WORKERS), registry]

    def start(stack: ExitStack) -> ActedRecords:
        program = stack.enter_context(Program(arguments, folder, {"PYTHONPATH": str(ROOT)}))
        port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        program.wait_errors(r"listening at (\S+) with")
        return ActedRecords(port, program)

    with ExitStack() as stack:
        yield await asyncio.to_thread(start, stack)


async def change_records(a: ActedRecords, calls: PacedCalls) -> None:
    """Take the server "a" out, put it in, and change its weight; calls follow each time without a failure."""
    await calls.go_to("a", "b")
    assert await a.done("out", was=False) == (False, True)
    await calls.go_to("b")
    assert await a.refused("out", was=False) is True
    assert await a.refused("in", was=False) is True
    assert await a.shown() == {"is_out": True, "weight": 0, "configured_weight": 1}
    assert await a.done("in", was=True) == (True, False)
    await calls.go_to("a", "b")
    assert await a.done("weight", weight=5, was=1) == (1, 5)
    await calls.lean_to("a")
    assert await a.refused("weight", weight=9, was=1) == 5
    assert await a.shown() == {"is_out": False, "weight": 5, "configured_weight": 1}
    assert await a.done("in", was=False) == (False, False)
    assert await a.shown() == {"is_out": False, "weight": 1, "configured_weight": 1}


async def roll_and_drain(a: ActedRecords, calls: PacedCalls, *, has_workers: bool) -> None:
    """Replace the workers of the server "a", if it has some, and end it; calls follow without a failure."""
    if has_workers:
        assert (await a.act("roll", was=await a.identity())).status == 200
        await a.logged("new workers serve, the old ones drain")
    await calls.go_to("a", "b")
    assert (await a.act("drain", was=await a.identity())).status == 200
    await calls.go_to("b")
    await a.ended()

"""Rolling restarts of servers in a registry, while calls continue: none fails."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Backoff, Client, ClientConfig, Server, ServerConfig, Timeouts
from fastrpc.coordination import RegistryServer
from fastrpc.endpoint import Address
from fastrpc.registries import Snapshot, open_registry
from tests.support.ledger import Journal, Ledger
from tests.support.noted import Noted
from tests.support.ports import free_ports
from tests.support.program import PACKAGE_ROOT, Program
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]
QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))
METHODS = (Noted.once, Noted.again, Noted.at_once)
CALLERS = 30
#: Between two calls of a caller: three calls begin in each millisecond, and the servers that start have time to do so.
PAUSE_SECONDS = 0.01

APP = """
import os
from pathlib import Path

from tests.support.ledger import Journal
from tests.support.noted import Noted

services = [Noted(Journal(Path(os.environ["JOURNAL"])))]
"""


class Traffic:
    """Calls of all kinds that continue until the end is set; `ended` counts them."""

    def __init__(self, client: Client) -> None:
        self.ledger = Ledger()
        self.ended = 0
        self._client = client
        self._is_over = False

    @contextlib.asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self._call(METHODS[number % len(METHODS)]))
            try:
                yield
            finally:
                self._is_over = True

    async def _call(self, method: Any) -> None:
        while not self._is_over:
            entry = self.ledger.begin(idempotent=method is Noted.again, timeout=5)
            await self.ledger.run(entry, self._client.call(method, entry.nonce))
            self.ended += 1
            await asyncio.sleep(PAUSE_SECONDS)

    async def more(self, count: int) -> None:
        """Return once so many further calls have ended."""
        enough = self.ended + count
        await eventually(lambda: self.ended >= enough)

    def failures(self) -> list[BaseException]:
        ends = [end for entry in self.ledger.entries for _, end in entry.ends]
        return [end for end in ends if isinstance(end, BaseException)]


@contextlib.asynccontextmanager
async def watched(url: str) -> AsyncIterator[list[Snapshot]]:
    """Yield the lists of the service, each when it comes."""
    seen: list[Snapshot] = []

    async def look() -> None:
        async for snapshot in registry.watch("noted"):
            seen.append(snapshot)

    async with open_registry(url) as registry:  # type: ignore[attr-defined]
        looking = asyncio.create_task(look())
        try:
            yield seen
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)


async def test_restarting_servers_in_turn_fails_no_call(scale: Any) -> None:
    journal = Journal()
    config = ServerConfig(timeouts=Timeouts(announce=0.05))

    async def started(address: str, registry: str) -> Server:
        server = Server(Noted(journal), config=config, registry=registry)
        await server.listen(address)
        return server

    async with RegistryServer("tcp://127.0.0.1:0") as registry, watched(registry.url) as seen:
        addresses = [f"tcp://127.0.0.1:{port}" for port in free_ports(3)]
        servers = [await started(address, registry.url) for address in addresses]
        await eventually(lambda: seen and len(seen[-1].endpoints) == 3)
        async with Client(addresses, config=QUICK) as client:
            await client.ready()
            traffic = Traffic(client)
            async with traffic.going_on():
                for number in range(scale(3)):
                    index = number % 3
                    await traffic.more(200)
                    assert await servers[index].drain() is True
                    await eventually(lambda: seen and len(seen[-1].endpoints) == 2)
                    assert addresses[index] not in map(str, seen[-1].endpoints)
                    await traffic.more(200)
                    servers[index] = await started(addresses[index], registry.url)
                    await eventually(lambda: seen and len(seen[-1].endpoints) == 3)
        for server in servers:
            await server.drain()
    assert traffic.failures() == []
    assert traffic.ledger.problems(journal) == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


@contextlib.contextmanager
def server_process(folder: Path, address: str, registry: str, workers: int) -> Iterator[Program]:
    """Run `fastrpc run` until the block ends; it has started when the block begins."""
    environment = {
        "JOURNAL": str(folder / "journal"),
        "PYTHONPATH": f"{PACKAGE_ROOT}:{ROOT}",
        "FASTRPC_TIMEOUTS_ANNOUNCE": "0.1",
    }
    arguments = ["run", "app:services", "-a", address, "--registry", registry, "--workers", str(workers)]
    with Program(["-m", "fastrpc", *arguments], folder, environment) as program:
        program.wait_output(r"serving at \S+")
        yield program


@pytest.mark.one_loop
@pytest.mark.parametrize("workers", [1, 2])
async def test_restarting_processes_in_turn_fails_no_call(folder: Path, workers: int) -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as registry, watched(registry.url) as seen:
        addresses = [f"tcp://127.0.0.1:{port}" for port in free_ports(3)]
        with contextlib.ExitStack() as stack:

            def start(address: str) -> Program:
                return stack.enter_context(server_process(folder, address, registry.url, workers))

            programs = [await asyncio.to_thread(start, address) for address in addresses]
            async with Client(addresses, config=QUICK) as client:
                await client.ready()
                traffic = Traffic(client)
                async with traffic.going_on():
                    for index, address in enumerate(addresses):
                        await traffic.more(200)
                        programs[index].signal(15)
                        ended = await asyncio.to_thread(programs[index].wait)
                        assert (ended.code, "Traceback" in ended.errors, "ERROR" in ended.errors) == (
                            0,
                            False,
                            False,
                        )
                        await eventually(lambda: seen and len(seen[-1].endpoints) == 2)
                        programs[index] = await asyncio.to_thread(start, address)
                        await eventually(lambda: seen and len(seen[-1].endpoints) == 3)
                    await traffic.more(200)
        assert traffic.failures() == []
        assert traffic.ledger.problems(Journal.read(folder / "journal")) == []


async def test_connection_handed_over_while_a_drain_begins_is_drained_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        caller = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    with caller:
        server = Server(Noted(Journal()), config=ServerConfig(timeouts=Timeouts(drain=0.2, linger=0.1)))
        await server.start()
        await asyncio.gather(server.take(accepted, Address.parse("tcp://127.0.0.1:1")), server.drain())
        assert server.stats()["live"]["connections"] == 0


async def test_connection_handed_over_after_the_end_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        server = Server(Noted(Journal()))
        await server.start()
        await server.drain()
        await server.take(theirs, Address.parse("tcp://127.0.0.1:1"))
        assert ours.recv(1) == b""

"""`fastrpc run` with several workers, and callers that note who served them."""

import asyncio
import contextlib
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fastrpc import Client, ClientConfig, FastRPCError, Pool
from tests.support.program import WAIT_SECONDS, Program

__all__ = ["CONNECTIONS", "PROGRAM", "Callers", "Running", "running"]

PROGRAM = """
import asyncio
import os
import time
from pathlib import Path

import fastrpc


@fastrpc.service("work")
class Work:
    def __init__(self) -> None:
        if os.path.exists("broken"):
            raise LookupError("no database")
        while os.path.exists("slow"):
            Path("waits").touch()
            time.sleep(0.01)

    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()

    @fastrpc.method
    async def nap(self) -> int:
        await asyncio.sleep(0.02)
        return os.getpid()

    @fastrpc.method
    async def hang(self) -> None:
        Path("hanging").touch()
        while True:
            time.sleep(1)

    @fastrpc.method
    async def hang_in_a_drain(self) -> None:
        await fastrpc.current_call().draining
        while True:
            time.sleep(1)

    @fastrpc.method
    async def wait_for(self, name: str) -> int:
        Path("waiting").touch()
        while not os.path.exists(name):
            await asyncio.sleep(0.02)
        return os.getpid()
"""

CONNECTIONS = 64


class Running:
    """`fastrpc run` with four workers, once it serves."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.address = (
            program.wait_errors(r"worker 4 is process \d+(.|\n)*")
            and program.wait_output(r"serving at (\S+) with 4 workers")[1]
        )

    def workers(self) -> list[int]:
        """Return the workers that were started since the log was cleared."""
        return [int(found) for found in re.findall(r"worker \d+ is process (\d+)", self.program.errors)]

    def roll(self) -> None:
        self.program.errors = ""
        self.program.signal(signal.SIGHUP)


@contextlib.contextmanager
def running(folder: Path, *more: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    (folder / "work.py").write_text(PROGRAM)
    arguments = ["-m", "fastrpc", "run", "work:Work", "-w", "4", "-a", "tcp://127.0.0.1:0", *more]
    with Program(arguments, folder, environment) as program:
        yield Running(program)


class Callers:
    """Calls that are not idempotent, over 64 connections, of one client or of as many."""

    def __init__(self, target: str, *, clients: int, registry: str | None = None) -> None:
        self._target = target
        self._registry = registry
        self._pool = Pool(connections_per_endpoint=CONNECTIONS // clients)
        self.clients: list[Client] = []
        self.served: Counter[int] = Counter()
        self.failures: list[str] = []
        self._round = 0
        self._is_over = False
        self.more(clients)
        self._tasks = [asyncio.ensure_future(self._call(number)) for number in range(CONNECTIONS)]

    def more(self, clients: int) -> None:
        """Make more clients, which begin with nothing: no connection, no list of endpoints."""
        config = ClientConfig(pool=self._pool)
        self.clients += [Client(self._target, registry=self._registry, config=config) for _ in range(clients)]

    async def _call(self, number: int) -> None:
        while not self._is_over:
            client = self.clients[number % len(self.clients)].with_options(timeout=20)
            begun = self._round
            try:
                worker = await client.call("work.where")
            except FastRPCError as error:
                self.failures.append(repr(error))
            else:
                self.served[worker] += begun == self._round
            # Some 2,000 calls a second in all.
            await asyncio.sleep(CONNECTIONS / 2_000)

    async def shares(self, calls: int = 600) -> dict[int, float]:
        """Return the share of each worker in the next calls that begin."""
        self._round += 1
        self.served.clear()
        async with asyncio.timeout(WAIT_SECONDS):
            while self.served.total() < calls:
                await asyncio.sleep(0.01)
        return {worker: count / self.served.total() for worker, count in self.served.items() if count}

    async def until_even(self) -> set[int]:
        """Return the workers once four of them have 15 to 35 % of the calls each."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                found = await self.shares()
                if len(found) == 4 and all(0.15 <= share <= 0.35 for share in found.values()):
                    return set(found)

    async def close(self) -> None:
        self._is_over = True
        await asyncio.gather(*self._tasks)
        for client in self.clients:
            await client.close()

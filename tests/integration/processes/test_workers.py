"""Several workers: connections spread evenly, a roll fails no call, a worker that hangs is replaced."""

import asyncio
import contextlib
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastrpc import Client, ClientConfig, FastRPCError, Pool
from fastrpc.server.systemd import Systemd
from tests.support.program import WAIT_SECONDS, Program

pytestmark = pytest.mark.one_loop

PROGRAM = """
import asyncio
import os
import time

import fastrpc


@fastrpc.service("work")
class Work:
    def __init__(self) -> None:
        if os.path.exists("broken"):
            raise LookupError("no database")

    @fastrpc.method
    async def where(self) -> int:
        return os.getpid()

    @fastrpc.method
    async def hang(self) -> None:
        while True:
            time.sleep(1)
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

    def __init__(self, address: str, *, clients: int) -> None:
        pool = Pool(connections_per_endpoint=CONNECTIONS // clients)
        self.clients = [Client(address, config=ClientConfig(pool=pool)) for _ in range(clients)]
        self.served: Counter[int] = Counter()
        self.failures: list[str] = []
        self._is_over = False
        self._tasks = [asyncio.ensure_future(self._call(number)) for number in range(CONNECTIONS)]

    async def _call(self, number: int) -> None:
        client = self.clients[number % len(self.clients)].with_options(timeout=20)
        while not self._is_over:
            try:
                self.served[await client.call("work.where")] += 1
            except FastRPCError as error:
                self.failures.append(repr(error))
            # Some 2,000 calls a second in all.
            await asyncio.sleep(CONNECTIONS / 2_000)

    async def shares(self, calls: int = 600) -> dict[int, float]:
        """Return the share of each worker in the next calls."""
        self.served.clear()
        async with asyncio.timeout(WAIT_SECONDS):
            while self.served.total() < calls:
                await asyncio.sleep(0.01)
        return {worker: count / self.served.total() for worker, count in self.served.items()}

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


@pytest.mark.parametrize("clients", [1, CONNECTIONS])
async def test_connections_stay_even_over_a_roll_and_the_death_of_a_worker(
    clients: int, tmp_path: Path
) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=clients)
        first = await callers.until_even()
        assert first == set(serving.workers())
        serving.roll()
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        second = await callers.until_even()
        assert second == set(serving.workers())
        assert not first & second
        assert callers.failures == []
        os.kill(min(second), signal.SIGKILL)
        third = await callers.until_even()
        assert len(third & second) == 3
        await callers.close()


async def test_rolls_fail_no_call(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        await callers.until_even()
        for _ in range(3):
            before = set(serving.workers())
            serving.roll()
            await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
            async with asyncio.timeout(WAIT_SECONDS):
                while before & (await callers.shares(200)).keys():
                    pass
        await callers.close()
        assert callers.failures == []


async def test_a_roll_whose_workers_cannot_start_leaves_the_old_ones(tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        callers = Callers(serving.address, clients=8)
        before = await callers.until_even()
        (tmp_path / "broken").touch()
        serving.roll()
        await asyncio.to_thread(
            serving.program.wait_errors, r"cannot start, the old workers stay: (.|\n)*no database"
        )
        assert await callers.until_even() == before
        (tmp_path / "broken").unlink()
        serving.roll()
        await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
        assert not await callers.until_even() & before
        await callers.close()
        assert callers.failures == []


async def test_a_worker_that_hangs_is_replaced_and_says_where(tmp_path: Path) -> None:
    with running(tmp_path, "--worker-timeout", "3") as serving:
        async with Client(serving.address) as client:
            victim = await client.call("work.where")
            hanging = asyncio.ensure_future(client.with_options(timeout=None).call("work.hang"))
            # The others serve meanwhile.
            others = [Client(serving.address) for _ in range(3)]
            served = {await other.with_options(timeout=20).call("work.where") for other in others}
            assert victim not in served
            for other in others:
                await other.close()
            await asyncio.to_thread(serving.program.wait_errors, rf"process {victim}\) hangs")
            await asyncio.to_thread(serving.program.wait_errors, r"work\.py\", line \d+ in hang")
            await asyncio.gather(hanging, return_exceptions=True)
            await asyncio.to_thread(serving.program.wait_errors, r"ended: killed by SIG(.|\n)*is process \d+")
            assert await client.with_options(timeout=20, wait_for_ready=True).call("work.where") != victim


async def test_a_worker_with_enough_calls_is_replaced_and_no_call_fails(tmp_path: Path) -> None:
    with running(tmp_path, "--max-calls", "300") as serving:
        callers = Callers(serving.address, clients=8)
        first = set(serving.workers())
        async with asyncio.timeout(WAIT_SECONDS):
            while first & (await callers.shares(200)).keys():
                pass
        await callers.close()
        assert callers.failures == []
        told = r"(this worker is replaced: calls served(.|\n)*?){4}"
        await asyncio.to_thread(serving.program.wait_errors, told)


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """What systemd would read."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reading:
        reading.bind(str(tmp_path / "notify"))
        reading.settimeout(WAIT_SECONDS)
        yield reading


def test_the_service_manager_hears_of_the_life_of_the_server(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with running(tmp_path, environment=environment) as serving:
        told = systemd.recv(1000).decode().split("\n")
        assert told == ["READY=1", f"MAINPID={serving.program.process_id}"]
        assert systemd.recv(1000) == b"WATCHDOG=1"
        serving.roll()
        heard: list[str] = []
        while not heard or not heard[-1].startswith("READY=1"):
            heard.append(systemd.recv(1000).decode())
        assert [line.partition("\n")[0] for line in heard if line != "WATCHDOG=1"] == [
            "RELOADING=1",
            "READY=1",
        ]
        serving.program.signal(signal.SIGTERM)
        while systemd.recv(1000) != b"STOPPING=1":
            pass
        assert serving.program.wait().code == 0


def test_the_service_manager_hears_of_one_process(systemd: socket.socket, tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    (tmp_path / "work.py").write_text(PROGRAM)
    arguments = ["-m", "fastrpc", "run", "work:Work", "-a", "tcp://127.0.0.1:0"]
    with Program(arguments, tmp_path, environment) as program:
        assert systemd.recv(1000).decode().split("\n") == ["READY=1", f"MAINPID={program.process_id}"]
        assert systemd.recv(1000) == systemd.recv(1000) == b"WATCHDOG=1"
        program.signal(signal.SIGTERM)
        while systemd.recv(1000) != b"STOPPING=1":
            pass
        assert program.wait().code == 0


def test_the_watchdog_of_another_process_is_not_fed(monkeypatch: pytest.MonkeyPatch) -> None:
    for pid, interval in ((os.getpid(), 0.5), (1, None)):
        environment = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(pid)}
        assert Systemd(environment).interval == interval
    assert Systemd({"WATCHDOG_USEC": "1000000"}).interval is None

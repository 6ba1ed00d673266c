"""The cost of a console for a server: the page of figures with the most methods, polled by several readers.

`python -m bench.promises.polled WORKERS` serves until standard input closes; 0 workers: only this process.
"""

import asyncio
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import fastrpc
from bench.compare.peers.base import announce, wait_for_end_of_input
from bench.compare.processes import choose_cores, running_server
from bench.promises.finding import Finding
from fastrpc._core.base.histogram import default_registry
from fastrpc.server.admin.figures import process_facts

__all__ = ["polled_figures"]

#: The most methods that a process counts on one side, except the methods that are called here.
MANY = 4_090

#: Methods of a common server; its readers, which read every two seconds; the duration.
COMMON, READERS, POLL_SECONDS, SECONDS = 100, 3, 2.0, 20.0

#: Pages whose stalls are measured.
PAGES = 7

#: Two intervals after which a thread may take the lock of the interpreter, of 5 ms each; a hundredth of a core.
STALL_MILLISECONDS, SHARE = 10.0, 1.0

_COMMAND = [sys.executable, "-m", "bench.promises.polled"]


@fastrpc.service("loop")
class Loop:
    """A clock on the loop of a process that reports how late it was."""

    def __init__(self) -> None:
        self._worst = 0.0
        self._clock: asyncio.Task[None] | None = None

    @fastrpc.method
    async def count(self, methods: int) -> None:
        """Count methods as if they had been called."""
        for number in range(methods):
            counters = default_registry.counters(f"shop{number}.pay", "server")
            counters.count_started()
            counters.count_ended(0, 1_000_000)

    @fastrpc.method
    async def watch(self) -> int:
        """Begin to look how late the loop is, and return the number of the process."""
        if self._clock is None:
            self._clock = asyncio.create_task(self._tick())
        return os.getpid()

    async def _tick(self) -> None:
        while True:
            before, used = time.perf_counter(), time.process_time()
            await asyncio.sleep(0.001)
            late, used = time.perf_counter() - before - 0.001, time.process_time() - used
            # A delay in which no thread of this process ran is of other programs.
            self._worst = max(self._worst, min(late, used))

    @fastrpc.method
    async def worst(self) -> tuple[int, float]:
        """Return the process and the longest delay in seconds since the last call of this method."""
        worst, self._worst = self._worst, 0.0
        return os.getpid(), worst


def polled_figures() -> list[Finding]:
    """Stalls by the page of figures of 4,090 methods, and the processor time of polls of 100 methods."""
    findings = []
    for workers in (0, 4):
        idle, stall = asyncio.run(_stalls(workers))
        title = f"the loop by /figures of {MANY:,} methods, {workers or 1} process{'es' if workers else ''}"
        details = f"median of {PAGES} pages, the latest of all loops; {idle:.1f} ms without a page"
        findings.append(Finding(title, stall, STALL_MILLISECONDS, "ms late", details))
    share = asyncio.run(_processor_share())
    title = f"/figures of {COMMON} methods, polled every {POLL_SECONDS:g} s by {READERS} readers"
    findings.append(
        Finding(title, share, SHARE, "% of a core", f"over {SECONDS:g} s, without the idle server")
    )
    return findings


@contextlib.contextmanager
def _serving(workers: int) -> Iterator[tuple[str, int, int]]:
    """Run a server; yield its address, the port of its pages and its process."""
    with running_server([*_COMMAND, str(workers)], choose_cores().server) as server:
        target, port = server.address.split()
        yield target, int(port), server.processes[0]


async def _stalls(workers: int) -> tuple[float, float]:
    """Return how late the loop is in ms, at most, while nothing happens and while a page is made."""
    with _serving(workers) as (target, port, _):
        async with contextlib.AsyncExitStack() as stack:
            clients = await _watched(stack, target, workers or 1)
            idle, stalls = [], []
            for _ in range(PAGES):
                await _worst(clients)
                await asyncio.sleep(0.1)
                idle.append(await _worst(clients))
                await asyncio.to_thread(_read, port)
                stalls.append(await _worst(clients))
            return statistics.median(idle) * 1e3, statistics.median(stalls) * 1e3


async def _watched(stack: contextlib.AsyncExitStack, target: str, processes: int) -> list[fastrpc.Client]:
    """Return a client connected to each process, whose loop it watches."""
    found: dict[int, fastrpc.Client] = {}
    async with asyncio.timeout(30):
        while len(found) < processes:
            client = await stack.enter_async_context(fastrpc.Client(target))
            found.setdefault(await client.call(Loop.watch), client)
    for client in found.values():
        await client.call(Loop.count, MANY)
    return list(found.values())


async def _worst(clients: list[fastrpc.Client]) -> float:
    return max([(await client.call(Loop.worst))[1] for client in clients])


async def _processor_share() -> float:
    """Return the percent of a core that the readers of one server cost it."""
    with _serving(0) as (target, port, process):
        async with fastrpc.Client(target) as client:
            await client.call(Loop.count, COMMON)
        idle = await asyncio.to_thread(_seconds_of, process, SECONDS / 2)
        over = threading.Event()
        readers = [threading.Thread(target=_poll, args=(port, over)) for _ in range(READERS)]
        for reader in readers:
            reader.start()
        polled = await asyncio.to_thread(_seconds_of, process, SECONDS)
        over.set()
        for reader in readers:
            reader.join()
    return (polled / SECONDS - idle / (SECONDS / 2)) * 100


def _poll(port: int, over: threading.Event) -> None:
    revision: int | None = None
    while not over.wait(POLL_SECONDS):
        revision = _read(port, revision)["revision"]


def _read(port: int, after: int | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        path = "/figures" if after is None else f"/figures?after={after}"
        connection.request("GET", path, headers={"Accept": "application/json"})
        return json.load(connection.getresponse())
    finally:
        connection.close()


def _seconds_of(process: int, seconds: float) -> float:
    """Return the processor seconds that a process uses in that many seconds."""
    before = process_facts(process)["processor_seconds"]
    time.sleep(seconds)
    return float(process_facts(process)["processor_seconds"] - before)


def main(workers: int) -> None:
    """Serve until standard input closes."""
    if not workers:
        asyncio.run(_serve())
        return
    # The workers run on all cores: on one core they would wait for each other.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ["--workers", str(workers), "--address", "tcp://127.0.0.1:0", "--json", "--log-level", "error"]
    program = subprocess.Popen(
        [sys.executable, "-m", "fastrpc", "run", f"{__spec__.name}:Loop", *options],
        stdout=subprocess.PIPE,
        env=os.environ | {"FASTRPC_ADMIN_ADDRESS": f"tcp://127.0.0.1:{port}"},
    )
    assert program.stdout is not None
    try:
        started = json.loads(program.stdout.readline())
        announce(f"{started['addresses'][0]} {port}", program.pid, *started["process_ids"])
        wait_for_end_of_input()
    finally:
        program.terminate()
        program.wait(20)


async def _serve() -> None:
    config = fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0")
    async with fastrpc.Server(Loop(), config=config) as server:
        target = await server.listen("tcp://127.0.0.1:0")
        assert server.admin.address is not None
        announce(f"{target} {server.admin.address.port}")
        await asyncio.to_thread(wait_for_end_of_input)
        await server.drain(timeout=0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]))

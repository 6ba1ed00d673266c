"""Calls during reads of the admin pages: a scrape of thousands of methods, a flood of pipelined requests.

`python -m bench.promises.pages serve` serves, `… ADDRESS PORT none|scrapes|flood` measures and prints JSON.
"""

import asyncio
import http.client
import json
import socket
import sys
import threading
from collections.abc import Callable

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.compare.processes import choose_cores, run_client, running_server
from bench.promises.caller import measure_latency
from bench.promises.finding import Finding
from bench.promises.server import Promised, read_all_input
from fastrpc._core.base.histogram import default_registry

__all__ = ["page_readers"]

METHODS = 2_000
SECONDS = 2.0
RATE = 1_000
PIPELINED = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1_000

_COMMAND = [sys.executable, "-m", "bench.promises.pages"]


def page_readers() -> list[Finding]:
    """Calls during scrapes of 2,000 methods, and during a flood of pipelined requests."""
    with running_server([*_COMMAND, "serve"], choose_cores().server) as server:
        target, port = server.address.split()

        def beside(reader: str) -> float:
            return (
                float(run_client([*_COMMAND, target, port, reader], choose_cores().client, 30)["p99"]) * 1e3
            )

        alone, scraped, flooded = beside("none"), beside("scrapes"), beside("flood")
    limit = max(50.0, 5 * alone)
    details = f"{RATE:,} calls/s; {alone:.1f} ms at p99 without it"
    return [
        Finding(f"calls beside scrapes of {METHODS:,} methods", scraped, limit, "ms at p99", details),
        Finding("calls beside pipelined requests for a page", flooded, limit, "ms at p99", details),
    ]


async def serve() -> None:
    """Serve until standard input closes, as if many methods had been called."""
    for number in range(METHODS):
        counters = default_registry.counters(f"shop{number}.pay", "server")
        counters.count_started()
        counters.count_ended(0, 1_000_000)
    config = fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0")
    async with fastrpc.Server(Promised(), config=config) as server:
        target = await server.listen("tcp://127.0.0.1:0")
        assert server.admin.address is not None
        announce(f"{target} {server.admin.address.port}")
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def scrape(port: int, is_over: Callable[[], bool]) -> None:
    """Scrape one page after the other."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    while not is_over():
        connection.request("GET", "/metrics")
        connection.getresponse().read()
    connection.close()


def flood(port: int, is_over: Callable[[], bool]) -> None:
    """Send requests as fast as they are taken, and read the answers."""
    with socket.create_connection(("127.0.0.1", port)) as peer:
        reading = threading.Thread(target=lambda: all(iter(lambda: peer.recv(2**20), b"")))
        reading.start()
        while not is_over():
            peer.sendall(PIPELINED)
        peer.shutdown(socket.SHUT_RDWR)
        reading.join()


async def measure(target: str, port: int, reader: str) -> dict[str, float]:
    """Measure calls during the work of a reader."""
    over = threading.Event()
    readers = {"scrapes": scrape, "flood": flood}
    threads = (
        [threading.Thread(target=readers[reader], args=(port, over.is_set))] if reader in readers else []
    )
    async with fastrpc.Client(target) as client:
        await client.ready(timeout=10)
        for thread in threads:
            thread.start()
        found = await measure_latency(client, SECONDS, RATE)
        over.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    return found


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        uvloop.run(serve())
    else:
        print(json.dumps(uvloop.run(measure(sys.argv[1], int(sys.argv[2]), sys.argv[3]))), flush=True)

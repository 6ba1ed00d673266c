"""Many clients that serve, and a server that notifies them all: `python -m bench.promises.notified serve`, and
`… hold ADDRESS COUNT`, which connects COUNT clients and then prints a line.

`hub.keep` keeps the connected clients, `hub.tell` notifies all kept ones and counts the lost ones.
"""

import asyncio
import os
import sys
import time
from contextlib import AbstractContextManager

import uvloop

import fastrpc
from bench.compare.peers.base import announce
from bench.compare.processes import RunningServer, choose_cores, running_server
from bench.promises.server import read_all_input

__all__ = ["tell_many"]

#: Clients that connect at the same time.
AT_ONCE = 64
#: Seconds until all notifications must have arrived, and all dead clients must have been noticed.
ARRIVAL_SECONDS = 10
CONFIG = fastrpc.ServerConfig(limits=fastrpc.Limits(connections=20_000))


@fastrpc.service("watcher")
class Watcher:
    """The service of each client."""

    seen = 0

    @fastrpc.method
    async def changed(self, what: str) -> None:
        """Count the notification, for all clients of this process."""
        Watcher.seen += 1

    @fastrpc.method
    async def count(self) -> int:
        """Return how many notifications the clients of this process got."""
        return Watcher.seen


@fastrpc.service("hub")
class Hub:
    """The service of the server."""

    def __init__(self) -> None:
        self.kept: list[fastrpc.PeerClient] = []

    @fastrpc.method
    async def keep(self) -> int:
        """Keep the clients that are connected now."""
        server = Hub.server
        self.kept = [peer.client for peer in server.peers() if peer.client is not None]
        return len(self.kept)

    @fastrpc.method(timeout=60)
    async def tell(self) -> dict[str, float]:
        """Notify all clients that were kept, one after the other."""
        began, refused = time.perf_counter(), 0
        for client in self.kept:
            try:
                await client.notify(Watcher.changed, "tea")
            except fastrpc.ConnectionLostError:
                refused += 1
        seconds = time.perf_counter() - began
        living = next(client for client in self.kept if not client.is_closed)
        # Loops take a thousand connections at a time: some are still to be read.
        seen, closed, until = 0, 0, time.perf_counter() + ARRIVAL_SECONDS
        while seen + closed < len(self.kept) and time.perf_counter() < until:
            seen = await living.call(Watcher.count)
            closed = sum(client.is_closed for client in self.kept)
        return {"seconds": seconds, "refused": refused, "lost": closed, "told": seen}

    server: fastrpc.Server


async def serve() -> None:
    """Serve until standard input closes."""
    async with fastrpc.Server(Hub(), config=CONFIG) as server:
        Hub.server = server
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


async def hold(address: str, count: int) -> None:
    """Connect clients, and end without a word once standard input closes."""
    clients = [fastrpc.Client(address, services=[Watcher()]) for _ in range(count)]
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(client.__aenter__() for client in clients[first : first + AT_ONCE]))
    announce(str(count))
    await asyncio.to_thread(read_all_input)
    os._exit(0)


def tell_many(living: int, dead: int) -> dict[str, float]:
    """Notify clients after some of the kept ones have ended without notice."""
    cores = choose_cores()

    def running(core: int, *arguments: str) -> AbstractContextManager[RunningServer]:
        return running_server([sys.executable, "-m", "bench.promises.notified", *arguments], core)

    with (
        running(cores.server, "serve") as server,
        fastrpc.SyncClient(server.address) as client,
        running(cores.client, "hold", server.address, str(living)),
    ):
        with running(cores.client, "hold", server.address, str(dead)):
            before = client.call(Hub.keep)
        result = client.call(Hub.tell)
    return {**result, "kept": before}


if __name__ == "__main__":
    uvloop.run(serve() if sys.argv[1] == "serve" else hold(sys.argv[2], int(sys.argv[3])))

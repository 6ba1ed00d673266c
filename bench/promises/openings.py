"""New clients during silent openings: `python -m bench.promises.openings serve`, and `… ADDRESS SILENT CLIENTS`.

The second keeps COUNT connections silent, replaces each that the server closes, and prints as JSON how long each of
several clients took, one after the other, to have its first call answered.
"""

import asyncio
import json
import socket
import sys
import time

import fastrpc
from bench.compare.peers.base import announce
from bench.promises.server import Promised, read_all_input


async def serve() -> None:
    """Serve on asyncio's own loop, with the usual limits, until standard input closes."""
    async with fastrpc.Server(Promised()) as server:
        announce(str(await server.listen("tcp://127.0.0.1:0")))
        await asyncio.to_thread(read_all_input)
        await server.drain(timeout=0.1)


def open_silently(target: tuple[str, int], opened: list[socket.socket], count: int) -> None:
    """Drop the connections that the server closed, and open new ones."""
    for one in list(opened):
        try:
            if one.recv(1, socket.MSG_DONTWAIT) == b"":
                opened.remove(one)
                one.close()
        except BlockingIOError:
            continue
        except OSError:
            opened.remove(one)
    while len(opened) < count:
        opened.append(socket.create_connection(target))


def measure(address: str, silent: int, clients: int) -> dict[str, object]:
    """Return the seconds that each client took, and how many connections were silent in all."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    opened: list[socket.socket] = []
    seconds: list[float] = []
    for _ in range(clients):
        open_silently((host, int(port)), opened, silent)
        began = time.perf_counter()
        with fastrpc.SyncClient(
            address, config=fastrpc.ClientConfig(timeouts=fastrpc.Timeouts(call=20))
        ) as client:
            client.call(Promised.echo, b"x")
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds}


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve())
    else:
        print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:]))), flush=True)

"""The store under test, in a separate process; it ends with its input: `python -m bench.agreement.server FOLDER`."""

import asyncio
import sys

import uvloop

from bench.compare.peers.base import announce
from bench.promises.server import read_all_input
from fastrpc.coordination import StoreServer


async def serve(folder: str) -> None:
    """Serve a store that keeps its items in a folder, across a loss of power, until standard input closes."""
    async with StoreServer("tcp://127.0.0.1:0", data_dir=folder) as server:
        announce(server.url)
        await asyncio.to_thread(read_all_input)


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1]))

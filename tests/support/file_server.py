"""A server of files with little memory, and the memory that it holds.

::

    python -m tests.support.file_server FOLDER PROCESS_BYTES [uvloop]

prints its address and serves until its input ends.
"""

import asyncio
import os
import sys
from pathlib import Path

import uvloop

import fastrpc
from fastrpc import Memory, Server, ServerConfig
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.files import FileService

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@fastrpc.service("held_memory")
class HeldMemory:
    @fastrpc.method
    async def echo(self, number: int) -> int:
        return number


def look() -> tuple[int, int]:
    """Return the bytes that are counted, and those that are resident."""
    return bytes_held(), int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


async def serve(folder: str, process_bytes: int) -> None:
    config = ServerConfig(memory=Memory(process_bytes=process_bytes))
    loop = asyncio.get_running_loop()
    async with Server(FileService(folder), HeldMemory(), config=config) as server:
        print(await server.listen("tcp://127.0.0.1:0"), flush=True)
        # Not by a call: that would be refused while there is no memory.
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(*look(), flush=True)


def main(folder: str, process_bytes: str, loop: str = "asyncio") -> None:
    make_loop = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(serve(folder, int(process_bytes)))


if __name__ == "__main__":
    main(*sys.argv[1:])

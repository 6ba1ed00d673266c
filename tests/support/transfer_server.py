"""A server of long bodies: the file of a form, and bodies of a mounted application.

::

    python -m tests.support.transfer_server

prints its address and serves until its input ends. A line of that may be a number: handlers take so many more bytes.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Any

import uvloop

import fastrpc
from fastrpc import HTTP, Server, ServerConfig, Upload
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.mounted import part, start

__all__ = ["PIECE"]

#: The bytes that the application gives at once.
PIECE = bytes(65_536)

#: The bytes that the handlers took or gave, and the most that the server counted meanwhile.
moved = most_held = 0

#: The bytes that the handlers may take, and the event that is set while those are more than they took.
allowed = 0
may_take = asyncio.Event()


async def count(size: int) -> None:
    """Count bytes; other tasks have their turn."""
    global moved, most_held
    moved += size
    most_held = max(most_held, bytes_held())
    await asyncio.sleep(0)


async def take(size: int) -> None:
    """Count bytes that came, and return once more of them may be taken."""
    await count(size)
    if moved >= allowed:
        may_take.clear()
    await may_take.wait()


def allow(size: int) -> None:
    """Let the handlers take more bytes."""
    global allowed
    allowed += size
    if moved < allowed:
        may_take.set()


@fastrpc.service("transfers")
class Transfers:
    @fastrpc.method
    async def put(self, file: Upload) -> int:
        size = 0
        await may_take.wait()
        async for piece in file:
            size += len(piece)
            await take(len(piece))
        return size


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Take a body, or give as many bytes as the query says."""
    assert scope["type"] == "http", scope["type"]
    size = int(scope["query_string"] or b"0")
    await send(start())
    if scope["method"] == "POST":
        await may_take.wait()
    while scope["method"] == "POST" and (event := await receive())["type"] == "http.request":
        size += len(event["body"])
        await take(len(event["body"]))
        if not event["more_body"]:
            await send(part(str(size).encode()))
            return
    for _ in range(size // len(PIECE)):
        await send(part(PIECE, more=True))
        await count(len(PIECE))
    await send(part())


def look() -> tuple[int, int, int]:
    """Return the bytes that were moved, the most that were counted, and the most that were resident."""
    global most_held
    most_held = max(most_held, bytes_held())
    status = Path("/proc/self/status").read_text()
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak is not None
    return moved, most_held, int(peak[1]) * 1024


async def serve() -> None:
    config = ServerConfig(protocols=("http",), http=HTTP(mounts={"/mounted": application}))
    loop = asyncio.get_running_loop()
    async with Server(Transfers(), config=config) as server:
        print(await server.listen("tcp://127.0.0.1:0"), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            allow(int(line) if line.strip().isdigit() else 0)
            print(*look(), flush=True)
        # A test that failed leaves a handler that waits.
        allow(sys.maxsize)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())

"""The server under attack: `python -m tests.support.held_memory.server`.

It prints its address, and ends with its input.
"""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import uvloop

import fastrpc
from fastrpc import HTTP, Limits, Memory, ServerConfig, Upload
from fastrpc.files import FileService

PROCESS_BYTES = 256 * 1024 * 1024

CONFIG = ServerConfig(
    protocols=("native", "http", "rpcx", "phobos", "grpc"),
    http=HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True),
    memory=Memory(process_bytes=PROCESS_BYTES),
    limits=Limits(connections=20_000),
)

#: What answers are made of. Beside a thousand handlers that each make a text of their own, callers wait for these.
TEXT = "x" * 15_000_000

FILE_BYTES = 64 * 1024 * 1024


@fastrpc.service("bench")
class Attacked:
    """What attackers call, and the good client."""

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method(safe=True, tool=True)
    async def give(self, size: int) -> str:
        return TEXT[:size]

    @fastrpc.method
    async def give_later(self, size: int) -> str:
        await asyncio.sleep(0.3)
        return TEXT[:size]

    @fastrpc.method
    async def hold(self, data: str) -> None:
        await asyncio.Event().wait()

    @fastrpc.method
    async def wait(self) -> None:
        await asyncio.Event().wait()

    @fastrpc.method(safe=True)
    async def feed(self) -> AsyncIterator[str]:
        while True:
            yield "x" * 60_000

    @fastrpc.method
    async def take(self, messages: AsyncIterator[str]) -> int:
        """Take one message, and hold it for ever."""
        async for message in messages:
            await asyncio.Event().wait()
            return len(message)
        return 0

    @fastrpc.method
    async def leave(self, messages: AsyncIterator[str]) -> None:
        """Take no message."""
        await asyncio.Event().wait()

    @fastrpc.method
    async def keep(self, file: Upload, note: list[str]) -> None:
        """Take no piece of a file, and keep the fields of its form."""
        await asyncio.Event().wait()

    @fastrpc.method
    async def fail(self, text: str) -> None:
        raise LookupError(text)


async def main() -> None:
    logging.basicConfig(level=logging.INFO, filename=os.devnull)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "large").write_bytes(bytes(FILE_BYTES))
        async with fastrpc.Server(Attacked(), FileService(folder), config=CONFIG) as server:
            print(await server.listen("tcp://127.0.0.1:0"), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            # Nobody waits for an answer any more.
            await server.drain(timeout=0.1)


if __name__ == "__main__":
    uvloop.run(main())

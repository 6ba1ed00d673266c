"""A server with large answers, for measurements of its memory and its stalls from another process.

::

    python -m tests.support.bulk_server [uvloop]

prints its address, and serves until its standard input ends. Every way in is open at that address.
"""

import asyncio
import random
import sys
from typing import Any

import uvloop

import fastrpc
from fastrpc import HTTP, Memory, Server, ServerConfig
from fastrpc.config.validation import SERVER_PROTOCOLS

__all__ = ["Bulk"]

MIB = 1 << 20


@fastrpc.service("bulk")
class Bulk:
    def __init__(self) -> None:
        self._noise = random.Random(11).randbytes(16_000_000)

    @fastrpc.method(tool=True)
    async def make(self, size: int, seconds: float) -> str:
        """Return a text of the given number of letters, now or later."""
        if seconds:
            await asyncio.sleep(seconds)
        return "x" * size

    @fastrpc.method(codec="raw")
    async def noise(self, size: bytes) -> bytes:
        """Return the given number of bytes that do not shrink."""
        return self._noise[: int(size.rstrip(b"."))]

    @fastrpc.method(codec="raw")
    async def measure(self, data: bytes) -> bytes:
        return b"%d" % len(data)

    @fastrpc.method
    async def count(self, value: Any) -> int:
        return len(value)

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data


async def main() -> None:
    config = ServerConfig(
        protocols=tuple(SERVER_PROTOCOLS[:5]),
        http=HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True),
        memory=Memory(process_bytes=256 * MIB),
    )
    async with Server(Bulk(), config=config) as server:
        print(await server.listen("tcp://127.0.0.1:0"), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if "uvloop" in sys.argv else None) as runner:
        runner.run(main())

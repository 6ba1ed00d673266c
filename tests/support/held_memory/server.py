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
from typing import Any

import msgspec
import uvloop

import fastrpc
from fastrpc import HTTP, CallError, Endpoint, Limits, Memory, ServerConfig, Status, Upload
from fastrpc.coordination import RegistryService, StoreService
from fastrpc.files import FileService
from fastrpc.registries.base.record import encode_record

PROCESS_BYTES = 256 * 1024 * 1024

#: The text of answers. Next to a thousand handlers that each make a separate text, callers wait for these.
TEXT = "x" * 15_000_000

BODY = TEXT.encode()

FILE_BYTES = 64 * 1024 * 1024

#: The wait of handlers that all continue in one turn of the loop, and the parts of a list.
WAIT_SECONDS = 0.5
PARTS = 1_000


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer after a wait with a body that all requests share, a WebSocket with messages of it."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await asyncio.sleep(WAIT_SECONDS)
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while True:
            await send({"type": "websocket.send", "bytes": BODY})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": BODY})


CONFIG = ServerConfig(
    protocols=("native", "http", "rpcx", "phobos", "grpc"),
    http=HTTP(
        jsonrpc=True,
        websocket=True,
        mcp=True,
        rpcx=True,
        grpc_web=True,
        connect=True,
        mounts={"/app": application},
    ),
    memory=Memory(process_bytes=PROCESS_BYTES),
    limits=Limits(connections=20_000),
)


class Part(msgspec.Struct):
    """A value that is not text."""

    name: str
    colours: list[str]


LIST = [Part(f"part {number}", ["red", "green"]) for number in range(PARTS)]


@fastrpc.service("bench")
class Attacked:
    """The methods for attackers, and for the good client."""

    def __init__(self, store: StoreService) -> None:
        self._store = store
        self._written = 0
        self._begin: asyncio.Event | None = None

    async def _wait(self) -> None:
        """Wait for the turn of the loop in which all waiting handlers continue."""
        if self._begin is None:
            self._begin = asyncio.Event()
            asyncio.get_running_loop().call_later(WAIT_SECONDS, self._go_on)
        await self._begin.wait()

    def _go_on(self) -> None:
        begin, self._begin = self._begin, None
        assert begin is not None
        begin.set()

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method(safe=True, tool=True)
    async def give(self, size: int) -> str:
        return TEXT[:size]

    @fastrpc.method
    async def give_later(self, size: int) -> str:
        await self._wait()
        return TEXT[:size]

    @fastrpc.method
    async def fail_later(self, size: int) -> None:
        await self._wait()
        raise CallError(Status.ABORTED, "too late", details=TEXT[:size])

    @fastrpc.method
    async def list_later(self) -> list[Part]:
        await self._wait()
        return LIST

    @fastrpc.method
    async def write_later(self, size: int) -> None:
        await self._wait()
        self._written += 1
        await self._store.put("written", b"%d" % self._written + BODY[:size])

    @fastrpc.method
    async def feed_later(self, size: int) -> AsyncIterator[str]:
        while True:
            await self._wait()
            yield TEXT[:size]

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
    async def feed_some(self, size: int, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield TEXT[:size]

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
        store, registry = StoreService(), RegistryService()
        services = (Attacked(store), FileService(folder), store, registry)
        async with fastrpc.Server(*services, config=CONFIG) as server:
            for port in range(1, PARTS + 1):
                record = encode_record(Endpoint(f"tcp://192.0.2.1:{port}")).decode()
                await registry.register("listed", record, 3600.0)
            print(await server.listen("tcp://127.0.0.1:0"), flush=True)
            await asyncio.to_thread(sys.stdin.read)
            # Nobody waits for an answer any more.
            await server.drain(timeout=0.1)


if __name__ == "__main__":
    uvloop.run(main())

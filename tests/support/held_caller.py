"""Callers whose further bytes are not read: by HTTP, by WebSocket and in a pipeline, over any transport."""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fastrpc
from fastrpc import HTTP, TLS, Address, Server, ServerConfig
from fastrpc._core.loop.loop_state import HeldSockets, loop_state
from tests.support.http_talk import request, soon
from tests.support.socket_client import handshake
from tests.support.socket_frames import TEXT, client_frame
from tests.support.waiting import eventually

__all__ = ["WAYS", "Caller", "Held", "Way", "calling"]

#: On close the system sends a reset.
RESET = struct.pack("ii", 1, 0)


@fastrpc.service("held")
class Held:
    """Handlers that take nothing until they may."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.notes = 0

    @fastrpc.method
    async def note(self) -> None:
        self.notes += 1

    @fastrpc.method
    async def sizes(self, blocks: AsyncIterator[str]) -> int:
        await self._wait()
        return sum([len(block) async for block in blocks])

    @fastrpc.method
    async def wait(self) -> str:
        await self._wait()
        return "done"

    async def _wait(self) -> None:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


def line(text: str) -> bytes:
    data = json.dumps({"value": text}).encode() + b"\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Way:
    """A kind of caller: its first bytes, and the bytes that it sends until the server stops reading."""

    first: bytes
    piece: bytes


WAYS = {
    "http": Way(
        request(
            "POST",
            "/held/sizes",
            Content_Type="application/x-ndjson",
            Content_Length=None,
            Transfer_Encoding="chunked",
        )
        + line("x"),
        line("x" * 8_000),
    ),
    "websocket": Way(
        handshake("/ws/held/sizes") + client_frame(TEXT, b"{}"),
        client_frame(TEXT, json.dumps({"value": "x" * 8_000}).encode()),
    ),
    "pipeline": Way(
        request("POST", "/held/wait", b"{}"), request("POST", "/held/sizes", json.dumps("x" * 8_000).encode())
    ),
}


@dataclass
class Caller:
    """A connection whose bytes a test sends, and which it ends."""

    connected: socket.socket
    held: HeldSockets

    async def send(self, data: bytes) -> None:
        await asyncio.to_thread(self.connected.sendall, data)

    async def send_until_held(self, piece: bytes) -> None:
        """Send until nothing more is read, and a little more, which stays in the buffers of the system."""
        async with asyncio.timeout(20):
            while not len(self.held):
                await self.send(piece)
                await asyncio.sleep(0)
        await self.send(piece)

    def end(self) -> None:
        """Send no more; the TCP below TLS says so alone."""
        socket.socket.shutdown(self.connected, socket.SHUT_WR)

    def reset(self) -> None:
        self.connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.connected.close()

    def close(self) -> None:
        self.connected.close()


@contextlib.contextmanager
def dialled(address: Address) -> Iterator[socket.socket]:
    if address.scheme == "unix":
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(address.path)
            yield plain
        return
    with socket.create_connection((address.host, address.port)) as plain:
        if address.scheme == "tcp":
            yield plain
            return
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(plain, do_handshake_on_connect=False) as encrypted:
            yield encrypted


@contextlib.asynccontextmanager
async def calling(
    scheme: str, tls: TLS | None, folder: Path, way: Way, **options: Any
) -> AsyncIterator[tuple[Held, Server, Caller]]:
    """Yield the server, and a caller whose call is under way and whose further bytes are not read."""
    service = Held()
    config = ServerConfig(
        protocols=("native", "http"),
        http=HTTP(websocket=True),
        tls=tls if scheme == "tls" else None,
        **options,
    )
    where = f"unix://{folder / 'socket'}" if scheme == "unix" else f"{scheme}://127.0.0.1:0"
    async with Server(service, config=config) as server:
        with dialled(await server.listen(where)) as connected:
            if isinstance(connected, ssl.SSLSocket):
                await asyncio.to_thread(connected.do_handshake)
            caller = Caller(connected, loop_state(asyncio.get_running_loop()).held_sockets)
            await caller.send(way.first)
            await soon(service.started)
            await caller.send_until_held(way.piece)
            yield service, server, caller
        await eventually(lambda: not server._gate.engines)

"""Compressed payloads sent side by side, by every way in; the server that takes them, a program with 256 MiB.

::

    python -m tests.support.bombs [uvloop]

prints its address, and serves until it is killed. `Bombs.stall` returns the longest stall of its loop since its last
call.
"""

import asyncio
import functools
import gzip
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import msgspec
import uvloop

import fastrpc
from fastrpc import HTTP, Memory, Server, ServerConfig, Status
from tests.support.frame_factory import opening
from tests.support.grpc_bytes import message, text_field
from tests.support.grpc_peer import grpc_peer
from tests.support.http_talk import HttpClient
from tests.support.raw_peer import raw_client
from tests.support.raw_streams import NO_LIMIT
from tests.support.rpcx_talk import RpcxTalk
from tests.support.rpcx_wire import JSON, MAGIC, Frame
from tests.support.wire_frames import Request, Response

__all__ = ["MIB", "WAYS", "Ask", "Bombs", "bomb", "peak_bytes", "resident_bytes", "reset_peak"]

MIB = 1_048_576
GZIP = 1


@functools.cache
def bomb() -> bytes:
    """Return 16 KB that are a message of the largest size."""
    return gzip.compress(bytes(16 * MIB))


@fastrpc.service("bombs")
class Bombs:
    def __init__(self) -> None:
        self.longest = 0.0

    @fastrpc.method(codec="raw")
    async def echo(self, data: bytes) -> bytes:
        return data

    @fastrpc.method(idempotent=True)
    async def size(self, text: str) -> int:
        return len(text)

    @fastrpc.method
    async def keep(self, blocks: AsyncIterator[bytes], seconds: float) -> int:
        """Have the first block for a while; return the size of all."""
        size = len(await anext(blocks))
        await asyncio.sleep(seconds)
        async for block in blocks:
            size += len(block)
        return size

    @fastrpc.method
    async def stall(self) -> float:
        longest, self.longest = self.longest, 0.0
        return longest

    async def watch(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(0.002)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before - 0.002)
            before = now


#: Calls a method of `Bombs` with a packed payload on one connection; returns the status of the answer.
Ask = Callable[[str, bytes], Awaitable[Status]]


@asynccontextmanager
async def _native(address: str) -> AsyncIterator[Ask]:
    ids = iter(range(1, 1_000_000, 2))
    async with raw_client(address) as peer:
        peer.send(opening(False))

        async def ask(method: str, packed: bytes) -> Status:
            call = next(ids)
            sent = Request(call, method.encode(), packed, codec=1, compressor=GZIP, timeout_us=NO_LIMIT)
            peer.send(sent.encode())
            while (answer := await peer.next(Response)).id != call:
                pass
            return Status(answer.status)

        yield ask


@asynccontextmanager
async def _http(address: str) -> AsyncIterator[Ask]:
    async with await HttpClient.to(address) as client:

        async def ask(method: str, packed: bytes) -> Status:
            service, _, name = method.rpartition(".")
            answer = await client.post(f"/{service}/{name}", packed, Content_Encoding="gzip")
            return Status.OK if answer.status == 200 else Status[answer.value["code"]]

        yield ask


@asynccontextmanager
async def _rpcx(address: str) -> AsyncIterator[Ask]:
    found = fastrpc.Address.parse(address)
    reader, writer = await asyncio.open_connection(found.host, found.port)
    talk = RpcxTalk(reader, writer, MAGIC)

    async def ask(method: str, packed: bytes) -> Status:
        service, _, name = method.rpartition(".")
        sent = Frame(path=service, method=name, payload=packed, serialize=JSON, compress=GZIP)
        answer = await talk.ask(sent)
        return Status[answer.metadata["frpc-code"]] if answer.status else Status.OK

    try:
        yield ask
    finally:
        writer.close()


@asynccontextmanager
async def _grpc(address: str) -> AsyncIterator[Ask]:
    async with grpc_peer(address) as peer:

        async def ask(method: str, packed: bytes) -> Status:
            stream = peer.open("/{0}/{2}".format(*method.rpartition(".")), [("grpc-encoding", "gzip")])
            await peer.send_all(stream, message(packed, flags=1), ends=True)
            answer = await peer.end(stream)
            assert answer.status is not None
            return Status(answer.status)

        yield ask


#: The ways in, and how each writes the arguments of `Bombs.size`.
WAYS: dict[str, tuple[Callable[[str], AbstractAsyncContextManager[Ask]], Callable[[str], bytes]]] = {
    "native": (_native, lambda text: msgspec.msgpack.encode([text])),
    "http": (_http, lambda text: msgspec.json.encode({"text": text})),
    "rpcx": (_rpcx, lambda text: msgspec.json.encode(text)),
    "gRPC": (_grpc, text_field),
}


def resident_bytes(process_id: int) -> int:
    """Return the resident memory of a process."""
    return _status_bytes(process_id, "VmRSS")


def peak_bytes(process_id: int) -> int:
    """Return the most resident memory of a process since `reset_peak`."""
    return _status_bytes(process_id, "VmHWM")


def reset_peak(process_id: int) -> None:
    Path(f"/proc/{process_id}/clear_refs").write_text("5")


def _status_bytes(process_id: int, name: str) -> int:
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {name}")


async def _serve() -> None:
    bombs = Bombs()
    config = ServerConfig(
        protocols=("native", "http", "rpcx", "grpc"),
        http=HTTP(json=True),
        memory=Memory(process_bytes=256 * MIB),
    )
    async with Server(bombs, config=config) as server:
        watching = asyncio.create_task(bombs.watch())
        print(await server.listen("tcp://127.0.0.1:0"), flush=True)
        await watching


if __name__ == "__main__":
    make_loop = uvloop.new_event_loop if "uvloop" in sys.argv else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        runner.run(_serve())

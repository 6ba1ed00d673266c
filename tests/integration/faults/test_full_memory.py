"""Requests that grow at the same time in a full process: none of them waits with its received bytes."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

import fastrpc
from fastrpc import HTTP, Limits, Memory, Server, ServerConfig
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.frame_factory import cut, opening
from tests.support.http_talk import WAIT_SECONDS, request
from tests.support.peer_writing import write_to
from tests.support.rpcx_wire import JSON, call
from tests.support.socket_client import handshake
from tests.support.socket_frames import CONTINUATION, TEXT, client_frame
from tests.support.waiting import eventually
from tests.support.wire_frames import Request

MIB = 1 << 20
#: The length of the content of each request, and the parts of it that come in the first and in the second step.
LENGTH, FIRST, SECOND = 3_600_000, MIB, 3 * MIB + MIB // 4

CONFIG = ServerConfig(
    protocols=("native", "http", "rpcx"),
    http=HTTP(websocket=True),
    memory=Memory(process_bytes=8 * MIB),
    limits=Limits(message_bytes=4 * MIB),
)


@fastrpc.service("bulk")
class Bulk:
    @fastrpc.method
    async def length(self, data: str) -> int:
        return len(data)


@dataclass(frozen=True)
class Way:
    """The first bytes of a connection, its request, and the number of such requests for which the process has room."""

    opening: bytes
    request: bytes
    room: int


def _pieces(message: bytes) -> bytes:
    parts = [message[start : start + 60_000] for start in range(0, len(message), 60_000)]
    frames = [client_frame(TEXT, parts[0], final=False)]
    frames += [client_frame(CONTINUATION, part, final=False) for part in parts[1:-1]]
    return b"".join([*frames, client_frame(CONTINUATION, parts[-1])])


DATA = "x" * LENGTH
WAYS = {
    "http": Way(b"", request("POST", "/bulk/length", {"data": DATA}), 2),
    "websocket": Way(
        handshake("/ws/bulk/length"), _pieces(b'{"arguments":{"data":"%s"}}' % DATA.encode()), 2
    ),
    "rpcx": Way(b"", call("bulk", "length", DATA, serialize=JSON).encode(), 2),
    # Credit of its peers: an eighth more, or one message.
    "native": Way(
        opening(is_server=False),
        b"".join(cut(Request(1, b"bulk.length", b'["%s"]' % DATA.encode(), codec=2), 60_000)),
        3,
    ),
}


class Sender:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        self.reader, self.writer, self.way = reader, writer, way
        self.received = b""

    def send(self, first: int, end: int | None = None) -> None:
        write_to(self.writer, self.way.request[first:end])

    async def hears(self, *words: bytes) -> bytes:
        """Return which of these comes first."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not (found := [word for word in words if word in self.received]):
                data = await self.reader.read(65_536)
                assert data, self.received
                self.received += data
        return found[0]


@pytest.mark.one_loop
@pytest.mark.parametrize("name", WAYS)
async def test_a_request_that_grows_beyond_the_memory_of_the_process_is_refused(name: str) -> None:
    way = WAYS[name]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(Bulk(), config=CONFIG))
        address = await server.listen("tcp://127.0.0.1:0")
        assert server._gate is not None
        # Holders are closed after a while: not in this test.
        server._gate.memory.full_wait_ns = 3_600 * 10**9
        senders = []
        for _ in range(way.room + 1):
            sender = Sender(*await asyncio.open_connection(address.host, address.port), way)
            senders.append(sender)
            stack.callback(sender.writer.close)
            write_to(sender.writer, way.opening)
            if way.opening:
                sender.received += await sender.reader.read(4_096)
            held = bytes_held()
            sender.send(0, FIRST)
            await eventually(lambda held=held: bytes_held() > held + FIRST // 2)
        for sender in senders[:-1]:
            held = bytes_held()
            sender.send(FIRST, SECOND)
            await eventually(lambda held=held: bytes_held() > held + 2 * MIB)
        last = senders[-1]
        last.send(FIRST, SECOND)
        assert await last.hears(b"Memory.process_bytes", str(LENGTH).encode()) == b"Memory.process_bytes"
        # The request holds no memory any more, and the others have room to end.
        await eventually(lambda: bytes_held() < way.room * SECOND + MIB)
        for sender in senders[:-1]:
            sender.send(SECOND)
            assert await sender.hears(str(LENGTH).encode(), b"Memory.process_bytes") == str(LENGTH).encode()
        for sender in senders:
            sender.writer.close()
        await eventually(lambda: bytes_held() == 0)

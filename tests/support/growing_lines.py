"""A stream of messages between a sender and a reader, the same for each wire and role, as tests of its window need it.

::

    async with growing_line("grpc server") as line:
        await line.fill()
        await line.read()
        assert line.size == 2 * WINDOW
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

import fastrpc
from fastrpc import Client, ClientConfig, Limits, Memory
from tests.support.grpc_bytes import message
from tests.support.grpc_peer import ServedGrpc, served_grpc
from tests.support.linked_streams import LinkedStreams
from tests.support.scripted_grpc import HEAD, ScriptedPeer, scripted_grpc

__all__ = ["KINDS", "POOL", "SIZE", "WINDOW", "Line", "growing_line"]

WINDOW = 65_536
POOL = 4 * 2**20
#: A message with its header is about a 64th of the first window, which no number of messages fills.
SIZE = 1_003
#: Turns of the loop in which output leaves, or a ready task runs.
TURNS = 5

MESSAGE = message(bytes(SIZE))


class Line(Protocol):
    """A sender and a reader; sent messages arrive at once."""

    @property
    def size(self) -> int:
        """The size of the window."""

    async def fill(self) -> None:
        """Send until the window is used up."""

    async def send(self) -> None:
        """Send one message, or the part of it that fits into its window."""

    async def read(self, most: int | None = None) -> None:
        """Take the given number of messages, or all arrived ones, and wait for the next one."""

    async def end(self) -> None:
        """End the stream."""


class NativeLine:
    def __init__(self, *, reads_at_client: bool) -> None:
        self.link = LinkedStreams(window=WINDOW, pool=POOL)
        near, far = self.link.open(with_loop=False)
        self.near, self.far = near, far
        self.sender, self.reader = (far, near) if reads_at_client else (near, far)
        self.assembler = (self.link.client if reads_at_client else self.link.server).assembler

    @property
    def size(self) -> int:
        return WINDOW + POOL // 2 - self.assembler.growth_left

    async def fill(self) -> None:
        while not self.sender.would_wait:
            self.sender.send_message(bytes(SIZE))
        self.link.carry()

    async def send(self) -> None:
        self.sender.send_message(bytes(SIZE))
        self.link.carry()

    async def read(self, most: int | None = None) -> None:
        for _ in range(self.reader.waiting if most is None else most):
            self.reader.take_now()
        if most is None:
            self.reader.wait_now()
        self.link.carry()

    async def end(self) -> None:
        self.near.end()
        self.far.end()
        self.link.server.respond_error(self.far.call, 5)
        self.link.carry()


class Http2Sender:
    """Sends messages of one stream as far as the windows of `h2` go."""

    def __init__(self, h2: Any, stream: int) -> None:
        self.h2 = h2
        self.stream = stream
        self.sent = 0
        self.begun = 0

    @property
    def room(self) -> int:
        return int(self.h2.local_flow_control_window(self.stream))

    @property
    def whole(self) -> int:
        """Messages that are sent as a whole."""
        return self.sent // len(MESSAGE)

    def send(self, size: int) -> None:
        """Send the given number of bytes of the messages, at most as many as there is room for."""
        size = min(size, self.room)
        while size:
            part = min(size, self.h2.max_outbound_frame_size)
            at = self.sent % len(MESSAGE)
            data = (MESSAGE * (part // len(MESSAGE) + 2))[at : at + part]
            self.h2.send_data(self.stream, data)
            self.sent += part
            size -= part

    def send_next(self) -> None:
        """Send the remainder of the next message."""
        self.send(len(MESSAGE) - self.sent % len(MESSAGE))


async def some_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def until(is_done: Callable[[], bool]) -> None:
    """Let the loop turn until all that can be done is done."""
    async with asyncio.timeout(20):
        while not is_done():
            await asyncio.sleep(0)
    await some_turns()


class GrpcClientLine:
    """The server is `h2`, the reader a stream of our client."""

    def __init__(self, client: Client, peer: ScriptedPeer, stream: int, messages: Any) -> None:
        self.peer = peer
        self.messages = messages
        self.sender = Http2Sender(peer.h2, stream)
        self.taken = 0
        self.receiving: asyncio.Future[bytes] | None = None
        [self.engine] = client._pool.connections

    @property
    def size(self) -> int:
        return WINDOW + POOL // 2 - int(cast(Any, self.engine).http2.growth_left)

    async def carry(self) -> None:
        """Let the client read the sent bytes, and the server its credit."""
        await some_turns()
        before = self.peer.answered_pings
        self.peer.h2.ping(b"in order")
        self.peer.flush()
        await until(lambda: self.peer.answered_pings > before)

    async def fill(self) -> None:
        self.sender.send(self.sender.room)
        await self.carry()

    async def send(self) -> None:
        self.sender.send_next()
        await self.carry()

    async def read(self, most: int | None = None) -> None:
        wanted = self.sender.whole if most is None else self.taken + most
        while self.taken < wanted:
            receiving = self.receiving or asyncio.ensure_future(self.messages.receive())
            self.receiving = None
            assert len(await receiving) == SIZE
            self.taken += 1
        if most is None and self.receiving is None:
            self.receiving = asyncio.ensure_future(self.messages.receive())
        await self.carry()

    async def end(self) -> None:
        self.peer.h2.send_headers(self.sender.stream, [("grpc-status", "5")], end_stream=True)
        await self.carry()

    async def close(self) -> None:
        if self.receiving is not None:
            self.receiving.cancel()
            await asyncio.wait([self.receiving])


@fastrpc.service("test.v1.Source")
class Source:
    """The contract of the server that is `h2`."""

    @fastrpc.method(codec="raw")
    async def give(self, request: bytes = b"") -> AsyncIterator[bytes]:
        yield request


@fastrpc.service("test.v1.Reader")
class Reader:
    """Takes as many messages as it may."""

    def __init__(self) -> None:
        self.taken = 0
        self.allowed = 0.0
        self.more = asyncio.Event()

    @fastrpc.method(codec="raw")
    async def take(self, items: AsyncIterator[bytes]) -> bytes:
        async for item in items:
            assert len(item) == SIZE
            self.taken += 1
            while self.taken >= self.allowed:
                self.more.clear()
                await self.more.wait()
        return b""

    async def read(self, most: float, wanted: int) -> None:
        self.allowed = most
        self.more.set()
        await until(lambda: self.taken >= wanted)
        # It waits, or takes the message that it waits for.
        self.allowed = self.taken + 1


class GrpcServerLine:
    """The client is `h2`, the reader a handler of our server."""

    def __init__(self, link: ServedGrpc, reader: Reader) -> None:
        self.link = link
        self.reader = reader
        self.sender = Http2Sender(link.h2, link.open("/test.v1.Reader/take"))

    @property
    def size(self) -> int:
        return WINDOW + POOL // 2 - int(self.link.engine.wire.http2.growth_left)

    async def fill(self) -> None:
        self.sender.send(self.sender.room)
        await self.link.talk()

    async def send(self) -> None:
        self.sender.send_next()
        await self.link.talk()

    async def read(self, most: int | None = None) -> None:
        if most is None:
            await self.reader.read(float("inf"), self.sender.whole)
        else:
            wanted = self.reader.taken + most
            await self.reader.read(wanted, wanted)
        await self.link.talk()

    async def end(self) -> None:
        self.link.reset(self.sender.stream)
        await self.link.talk()


@asynccontextmanager
async def grpc_client_line() -> AsyncIterator[Line]:
    done = asyncio.Event()
    opened: asyncio.Queue[tuple[ScriptedPeer, int]] = asyncio.Queue()

    async def script(peer: ScriptedPeer) -> None:
        stream = await peer.request()
        peer.h2.send_headers(stream, HEAD)
        peer.flush()
        opened.put_nowait((peer, stream))
        await done.wait()

    config = ClientConfig(limits=Limits(stream_window_bytes=WINDOW), memory=Memory(stream_pool=POOL))
    async with scripted_grpc(script) as server, Client(server.target, config=config) as client:
        async with client.stream(Source.give) as messages:
            peer, stream = await opened.get()
            line = GrpcClientLine(client, peer, stream, messages)
            yield line
            await line.close()
        done.set()


@asynccontextmanager
async def grpc_server_line() -> AsyncIterator[Line]:
    reader = Reader()
    settings: dict[str, Any] = {
        "limits": Limits(stream_window_bytes=WINDOW),
        "memory": Memory(stream_pool=POOL),
    }
    async with served_grpc(reader, **settings) as link:
        line = GrpcServerLine(link, reader)
        await link.talk()
        yield line


@asynccontextmanager
async def native_line(*, reads_at_client: bool) -> AsyncIterator[Line]:
    yield NativeLine(reads_at_client=reads_at_client)


MAKERS: dict[str, Callable[[], AbstractAsyncContextManager[Line]]] = {
    "native client": lambda: native_line(reads_at_client=True),
    "native server": lambda: native_line(reads_at_client=False),
    "grpc client": grpc_client_line,
    "grpc server": grpc_server_line,
}
#: Where the reader is.
KINDS = tuple(MAKERS)


def growing_line(kind: str) -> AbstractAsyncContextManager[Line]:
    """Open a stream that is read there."""
    return MAKERS[kind]()

"""A bare program that does the least work of a broker: what the time from publication to start costs at least.

The server commits each message as a row of SQLite in a thread, as `broker://` does, then sends it to the one subscriber
and acknowledges it to its publisher. It has no calls, types, rights, groups or leases. A message is its length in four
bytes and the record as JSON; a length of 0 subscribes.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from queue import SimpleQueue
from struct import Struct
from typing import Literal, NamedTuple, cast

import msgspec

from bench.messages.flow import Handle
from bench.messages.record import Order

__all__ = ["connected", "serving"]

_LENGTH = Struct("<I")
_SUBSCRIBE = _LENGTH.pack(0)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Order).decode


class _Frames(asyncio.Protocol):
    """Calls a function with each frame of a connection."""

    def __init__(self, on_frame: Callable[["_Frames", bytes], None]) -> None:
        self._on_frame = on_frame
        self._rest = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transports of uvloop are no asyncio.WriteTransport by their classes.
        self.transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        data, at = self._rest + data, 0
        while len(data) - at >= _LENGTH.size:
            end = at + _LENGTH.size + _LENGTH.unpack_from(data, at)[0]
            if end > len(data):
                break
            self._on_frame(self, data[at + _LENGTH.size : end])
            at = end
        self._rest = data[at:]

    def send(self, body: bytes) -> None:
        self.transport.write(_LENGTH.pack(len(body)) + body)


class _Message(NamedTuple):
    publisher: _Frames
    body: bytes


class _Server:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._waiting: SimpleQueue[_Message | None] = SimpleQueue()
        self._subscriber: _Frames | None = None
        self._number = 0
        self.thread = threading.Thread(target=self._commit_all)

    def on_frame(self, source: _Frames, body: bytes) -> None:
        if body:
            self._waiting.put(_Message(source, body))
        else:
            self._subscriber = source

    def end(self) -> None:
        self._waiting.put(None)
        self.thread.join()

    def _commit_all(self) -> None:
        while (message := self._waiting.get()) is not None:
            self._number += 1
            # SQLite commits a single statement by itself.
            self._connection.execute("INSERT INTO rows VALUES (?, ?)", (self._number, message.body))
            self._loop.call_soon_threadsafe(self._on_kept, message)

    def _on_kept(self, message: _Message) -> None:
        if self._subscriber is not None:
            self._subscriber.send(message.body)
        message.publisher.transport.write(_SUBSCRIBE)


@asynccontextmanager
async def serving(folder: Path, sync: Literal["normal", "full"]) -> AsyncIterator[tuple[str, Sequence[int]]]:
    """Serve the rows of a file in a folder."""
    with closing(
        sqlite3.connect(folder / "rows.db", isolation_level=None, check_same_thread=False)
    ) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={sync.upper()}")
        connection.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB) STRICT")
        program = _Server(connection)
        program.thread.start()
        try:
            async with await asyncio.get_running_loop().create_server(
                lambda: _Frames(program.on_frame), "127.0.0.1", 0
            ) as listener:
                yield f"tcp://127.0.0.1:{listener.sockets[0].getsockname()[1]}", ()
        finally:
            program.end()


class _Client:
    """A connection that publishes, and one more that subscribes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._waits: deque[asyncio.Future[None]] = deque()
        self.publisher: _Frames

    async def dial(self, on_frame: Callable[[_Frames, bytes], None]) -> _Frames:
        loop = asyncio.get_running_loop()
        _, protocol = await loop.create_connection(lambda: _Frames(on_frame), "127.0.0.1", self._port)
        return protocol

    def on_kept(self, source: _Frames, body: bytes) -> None:
        self._waits.popleft().set_result(None)

    async def publish(self, order: Order) -> object:
        kept = asyncio.get_running_loop().create_future()
        self._waits.append(kept)
        self.publisher.send(_encode(order))
        return await kept

    @asynccontextmanager
    async def subscribed(self, handle: Handle, acked: Callable[[int], None]) -> AsyncIterator[None]:
        """Handle each message. Nothing acknowledges it."""
        source = await self.dial(lambda source, body: handle(_decode(body)))
        source.transport.write(_SUBSCRIBE)
        yield
        source.transport.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[_Client]:
    """Connect the publisher."""
    client = _Client(int(url.rpartition(":")[2]))
    client.publisher = await client.dial(client.on_kept)
    yield client
    client.publisher.transport.close()

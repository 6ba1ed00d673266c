"""A proxy for TCP and unix sockets that harms connections as bad networks do.

::

    async with FaultProxy("tcp://127.0.0.1:8972") as proxy:
        proxy.downstream.delay_seconds = 0.05
        client = Client(proxy.address)

`upstream` carries bytes from client to server, `downstream` those back. Both may be changed at any time
and hold for all connections; offsets count the bytes of one connection in one direction.
"""

import asyncio
import enum
import os
import socket
import struct
import tempfile
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.peer_writing import write_to

__all__ = ["Cut", "Direction", "FaultProxy", "Relay"]

READ_BYTES = 65_536
#: Chunks under way in one direction; more wait in the sockets.
QUEUE_CHUNKS = 256
BACKLOG = 100

#: SO_LINGER on with 0 seconds: close sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Cut(enum.Enum):
    """The faults of a connection that is cut."""

    CLOSE = "close"  # Both ends see an orderly end.
    RESET = "reset"  # Both ends see a reset; bytes not yet read may be lost.
    BLACKHOLE = "blackhole"  # No byte moves any more, and neither side gets an error.
    HALF_OPEN = "half open"  # The receiver is gone; the sender gets no error.


@dataclass(eq=False)
class Direction:
    """Faults of one direction, and the bytes that passed through it."""

    #: Added to each chunk; chunks keep their order.
    delay_seconds: float = 0.0
    #: None = as fast as the sockets.
    bytes_per_second: float | None = None
    #: Largest single write; None = as read.
    slice_bytes: int | None = None
    #: Offsets of bytes whose lowest bit is flipped.
    flip_offsets: frozenset[int] = frozenset()
    #: After the given number of bytes of a connection it is cut; the last piece before is delivered.
    cut_after: int | None = None
    cut: Cut = Cut.CLOSE
    #: Bytes that were passed on, over all connections.
    bytes_passed: int = 0
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._flowing.set()

    def hold(self) -> None:
        """Let nothing through, ends of streams included, until `resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let bytes through again."""
        self._flowing.set()

    async def wait_until_flowing(self) -> None:
        await self._flowing.wait()

    def damage(self, chunk: bytes, offset: int) -> bytes:
        """Return a chunk that begins at `offset` with its flips."""
        hit = [at - offset for at in self.flip_offsets if offset <= at < offset + len(chunk)]
        if not hit:
            return chunk
        changed = bytearray(chunk)
        for at in hit:
            changed[at] ^= 1
        return bytes(changed)

    def slices(self, chunk: bytes) -> list[bytes]:
        """Return the pieces in which a chunk is written."""
        size = self.slice_bytes or len(chunk)
        return [chunk[start : start + size] for start in range(0, len(chunk), size)]


@dataclass(eq=False, slots=True)
class End:
    """One socket of a relay."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def reset(self) -> None:
        """End at once; the other side sees a reset (an end on unix sockets)."""
        transport = self.writer.transport
        raw = transport.get_extra_info("socket")
        if not transport.is_closing() and raw.family != socket.AF_UNIX:
            # uvloop's sockets take no options; a second descriptor of the same socket does.
            with socket.socket(fileno=os.dup(raw.fileno())) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        transport.abort()

    async def close(self) -> None:
        """End in order, once all that was written has left."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


async def cancel(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


class Relay:
    """One connection through the proxy."""

    def __init__(self, client: End, server: End, upstream: Direction, downstream: Direction) -> None:
        self._client = client
        self._server = server
        self._pumps = (
            Pump(client, server, upstream, self._cut),
            Pump(server, client, downstream, self._cut),
        )
        self._ending: asyncio.Future[tuple[Cut, End | None]] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Carry bytes both ways until both ends are through, or the connection is cut."""
        pumps = [asyncio.create_task(pump.run()) for pump in self._pumps]
        try:
            cut, sink = await self._outcome(pumps)
            await cancel(pumps)
            await self._finish(cut, sink)
        finally:
            # First the steps that need no waiting: no socket stays open if this is cancelled once more.
            self._client.reset()
            self._server.reset()
            await cancel(pumps)
            await asyncio.gather(self._client.close(), self._server.close())

    async def _outcome(self, pumps: list[asyncio.Task[None]]) -> tuple[Cut, End | None]:
        """Wait until both pumps are through or one says how the connection ends."""
        pumping: set[asyncio.Future[Any]] = set(pumps)
        while pumping and not self._ending.done():
            await asyncio.wait({*pumping, self._ending}, return_when=asyncio.FIRST_COMPLETED)
            for pump in [pump for pump in pumping if pump.done()]:
                pumping.remove(pump)
                pump.result()
        return self._ending.result() if self._ending.done() else (Cut.CLOSE, None)

    def close(self) -> None:
        """End both sides in order."""
        self._cut(Cut.CLOSE, None)

    def reset(self) -> None:
        """End both sides by a reset (by an end on unix sockets)."""
        self._cut(Cut.RESET, None)

    def _cut(self, cut: Cut, sink: End | None) -> None:
        if not self._ending.done():
            self._ending.set_result((cut, sink))

    async def _finish(self, cut: Cut, sink: End | None) -> None:
        if cut is Cut.CLOSE:
            await asyncio.gather(self._client.close(), self._server.close())
        elif cut is not Cut.RESET:
            if cut is Cut.HALF_OPEN and sink is not None:
                await sink.close()
            # Silence lasts until the proxy ends.
            await asyncio.Event().wait()


class Pump:
    """Carries the bytes of one direction of one connection."""

    def __init__(
        self, source: End, sink: End, direction: Direction, cut: Callable[[Cut, End | None], None]
    ) -> None:
        self._source = source
        self._sink = sink
        self._direction = direction
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_CHUNKS)
        self._offset = 0

    async def run(self) -> None:
        """Carry bytes until the source ends or the connection is cut."""
        reading = asyncio.create_task(self._read())
        try:
            await self._write()
        except (OSError, RuntimeError):
            # uvloop raises RuntimeError where a connection was lost before.
            self._cut(Cut.RESET, None)
        finally:
            await cancel([reading])

    async def _read(self) -> None:
        try:
            while chunk := await self._source.reader.read(READ_BYTES):
                await self._chunks.put((self._loop.time() + self._direction.delay_seconds, chunk))
        except OSError:
            self._cut(Cut.RESET, None)
        else:
            await self._chunks.put((self._loop.time() + self._direction.delay_seconds, b""))

    async def _write(self) -> None:
        direction = self._direction
        while True:
            due, chunk = await self._chunks.get()
            await asyncio.sleep(due - self._loop.time())
            await direction.wait_until_flowing()
            if not chunk:
                self._sink.writer.write_eof()
                return
            left = len(chunk) if direction.cut_after is None else direction.cut_after - self._offset
            await self._pass_on(chunk[: max(left, 0)])
            if direction.cut_after is not None and self._offset >= direction.cut_after:
                self._cut(direction.cut, self._sink)
                await asyncio.Event().wait()

    async def _pass_on(self, chunk: bytes) -> None:
        direction = self._direction
        for part in direction.slices(chunk):
            if direction.bytes_per_second:
                await asyncio.sleep(len(part) / direction.bytes_per_second)
            write_to(self._sink.writer, direction.damage(part, self._offset))
            self._offset += len(part)
            direction.bytes_passed += len(part)
            await self._sink.writer.drain()
            if direction.slice_bytes:
                # Let the loop run, so that slices leave as writes of their own.
                await asyncio.sleep(0)


class FaultProxy:
    """Listens for a client and connects to `target` for each connection.

    `target` is `tcp://host:port` or `unix:///path`; the proxy listens on the same kind of socket.

    Args:
        place: host and port of a proxy for TCP; the system gives port 0 a free one.
    """

    def __init__(self, target: str, *, place: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        self.target = target
        self._place = place
        self._listener: socket.socket | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._handlers: set[asyncio.Task[None]] = set()
        #: The sockets of handlers that have not begun.
        self._accepted: dict[asyncio.Task[None], socket.socket] = {}
        self.upstream = Direction()
        self.downstream = Direction()
        #: Connections that are open now.
        self.relays: list[Relay] = []
        self.accepted = 0
        #: Reset new connections at once.
        self.refuses = False
        self.address = ""

    async def __aenter__(self) -> Self:
        if self.target.startswith("unix://"):
            self._folder = tempfile.TemporaryDirectory(prefix="fault-proxy-")
            path = Path(self._folder.name) / "socket"
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(BACKLOG)
            self.address = f"unix://{path}"
        else:
            self._listener = socket.create_server(self._place, backlog=BACKLOG)
            host, port = self._listener.getsockname()
            self.address = f"tcp://{host}:{port}"
        self._listener.setblocking(False)
        # A server of asyncio that is closed forgets the connections it is just accepting, without closing them.
        asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._listener is not None
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        await cancel(self._handlers)
        if self._folder is not None:
            self._folder.cleanup()

    def reset_all(self) -> None:
        """Reset every open connection."""
        for relay in list(self.relays):
            relay.reset()

    def close_all(self) -> None:
        """Close every open connection in order."""
        for relay in list(self.relays):
            relay.close()

    def hold(self) -> None:
        """Drop off the network: nothing passes either way until `resume`."""
        self.upstream.hold()
        self.downstream.hold()

    def resume(self) -> None:
        """Come back to the network."""
        self.upstream.resume()
        self.downstream.resume()

    def _accept(self, listener: socket.socket) -> None:
        try:
            accepted, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        accepted.setblocking(False)
        self.accepted += 1
        handler = asyncio.create_task(self._handle())
        self._accepted[handler] = accepted
        self._handlers.add(handler)
        handler.add_done_callback(self._handled)

    def _handled(self, handler: asyncio.Task[None]) -> None:
        self._handlers.discard(handler)
        if handler in self._accepted:
            self._accepted.pop(handler).close()

    async def _handle(self) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        client = End(*await self._connection(sock=self._accepted.pop(handler)))
        try:
            with suppress(OSError):
                if not self.refuses:
                    await self._relay(client, End(*await self._dial()))
        finally:
            client.reset()
            await client.close()

    async def _relay(self, client: End, server: End) -> None:
        relay = Relay(client, server, self.upstream, self.downstream)
        self.relays.append(relay)
        try:
            await relay.run()
        finally:
            self.relays.remove(relay)

    def _dial(self) -> Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        scheme, _, rest = self.target.partition("://")
        if scheme == "unix":
            return self._connection(rest)
        host, _, port = rest.rpartition(":")
        return self._connection(host.strip("[]"), int(port))

    @property
    def _connection(self) -> Callable[..., Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
        return asyncio.open_connection if self._folder is None else asyncio.open_unix_connection

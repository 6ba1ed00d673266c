"""One served connection of each protocol, to which a test gives bytes and times: the columns of a matrix of rules.

::

    async with lived("rpcx", …) as connection:
        await connection.open()               # the peer is through its opening
        await connection.give(connection.way.held)    # it calls `shop.pack`, which goes on when the test says so
        connection.look(60)                   # a minute has passed
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from fastrpc import HTTP, Address, HTTPLimits, Server, ServerConfig
from fastrpc.auth import Identity
from fastrpc.protocols.base import Protocol, server_protocols, server_stream
from fastrpc_harness.checking import check
from tests.support import grpc_bytes, line_protocol, toy_protocol
from tests.support.frame_factory import cut, opening
from tests.support.http_talk import request
from tests.support.rpcx_wire import call
from tests.support.shop import Shop
from tests.support.socket_client import handshake
from tests.support.socket_frames import TEXT, client_frame
from tests.support.still_transport import StillTransport
from tests.support.waiting import eventually
from tests.support.wire_frames import Request
from tests.support.wire_layout import FLAG_STREAM_OUT
from tests.support.wire_metadata import encode_metadata

__all__ = ["COLUMNS", "IDLE_SECONDS", "PATIENCE_SECONDS", "LivedConnection", "Way", "lived"]

SECOND = 1_000_000_000

#: The idle time of every protocol, whichever setting has it.
IDLE_SECONDS = 60.0
PATIENCE_SECONDS = 20.0
HANDSHAKE_SECONDS = 5.0

assert toy_protocol.toy_link is not None
assert line_protocol.line_link is not None
_PACK = msgspec.msgpack.encode(["apple"])
_APPLE = grpc_bytes.text_field("apple")
_EVENTS = ("accept", "text/event-stream")
#: The first message of a WebSocket, which has the arguments of its method.
_ASKED = client_frame(TEXT, b'{"arguments":{"item":"apple"}}')


@dataclass(frozen=True)
class Way:
    """The bytes of a caller: its opening, calls of `shop.price` and `shop.pack`, the begin of a message, a stream."""

    protocol: str
    opening: bytes
    short: bytes
    held: bytes
    part: bytes
    #: A call of `feed.ticks`, which gives a stream; the same with a token. Empty where the protocol has none.
    stream: bytes = b""
    own_stream: bytes = b""
    #: The name under which a server detects it, where that is another one than the name in its settings.
    detected: str = ""


def _rpcx(method: str) -> bytes:
    return call("shop", method, {"item": "apple"}, sequence=1).encode()


def _ticks(metadata: bytes = b"") -> Request:
    return Request(1, b"feed.ticks", b"\x90", codec=1, flags=FLAG_STREAM_OUT, metadata=metadata)


COLUMNS = {
    "native": Way(
        "native",
        opening(False),
        Request(1, b"shop.price", _PACK, codec=1).encode(),
        Request(1, b"shop.pack", _PACK, codec=1).encode(),
        cut(Request(1, b"shop.pack", bytes(1_000), codec=1), 300)[0],
        opening(False) + _ticks().encode(),
        opening(False) + _ticks(encode_metadata([(b"authorization", b"Bearer secret")])).encode(),
    ),
    "http": Way(
        "http",
        b"",
        request("POST", "/shop/price", {"item": "apple"}),
        request("POST", "/shop/pack", {"item": "apple"}),
        request("POST", "/shop/pack", {"item": "apple" * 99})[:-9],
        request("POST", "/feed/ticks", {}, Accept="text/event-stream"),
        request("POST", "/feed/ticks", {}, Accept="text/event-stream", Authorization="Bearer secret"),
    ),
    "http by HTTP/2": Way(
        "http",
        grpc_bytes.OPENING,
        grpc_bytes.page("/shop/price", {"item": "apple"}),
        grpc_bytes.page("/shop/pack", {"item": "apple"}, stream=3),
        grpc_bytes.page("/shop/pack", {"item": "apple" * 99}, stream=5, until=20),
        grpc_bytes.OPENING + grpc_bytes.page("/feed/ticks", {}, _EVENTS),
        grpc_bytes.OPENING + grpc_bytes.page("/feed/ticks", {}, _EVENTS, ("authorization", "Bearer secret")),
        detected="HTTP/2",
    ),
    "websocket": Way(
        "http",
        handshake("/ws/shop/pack"),
        _ASKED,
        _ASKED,
        client_frame(TEXT, b'{"argu', final=False),
        handshake("/ws/feed/ticks") + client_frame(TEXT, b"{}"),
        handshake("/ws/feed/ticks", Authorization="Bearer secret") + client_frame(TEXT, b"{}"),
    ),
    "websocket by HTTP/2": Way(
        "http",
        grpc_bytes.OPENING + grpc_bytes.tunnel("/ws/shop/pack"),
        grpc_bytes.data(_ASKED),
        grpc_bytes.data(_ASKED),
        grpc_bytes.data(client_frame(TEXT, b'{"argu', final=False)),
        grpc_bytes.OPENING + grpc_bytes.tunnel("/ws/feed/ticks") + grpc_bytes.data(client_frame(TEXT, b"{}")),
        grpc_bytes.OPENING
        + grpc_bytes.tunnel("/ws/feed/ticks", ("authorization", "Bearer secret"))
        + grpc_bytes.data(client_frame(TEXT, b"{}")),
        detected="HTTP/2",
    ),
    "rpcx": Way("rpcx", b"", _rpcx("price"), _rpcx("pack"), _rpcx("pack")[:20]),
    "grpc": Way(
        "grpc",
        grpc_bytes.OPENING,
        grpc_bytes.request("/shop/price", _APPLE),
        grpc_bytes.request("/shop/pack", _APPLE, stream=3),
        grpc_bytes.request("/shop/pack", _APPLE, stream=5)[:20],
        grpc_bytes.OPENING + grpc_bytes.request("/feed/ticks", b""),
        grpc_bytes.OPENING + grpc_bytes.request("/feed/ticks", b"", ("authorization", "Bearer secret")),
    ),
    "toy": Way("toy", b"", b'shop.price "apple"\n', b'shop.pack "apple"\n', b"shop.pa"),
    "lines": Way("lines", b"", b'shop.price "apple"\n', b'shop.pack "apple"\n', b"shop.pa", b"feed.ticks\n"),
}


class LivedConnection:
    """A connection of a server over a transport that leads nowhere."""

    def __init__(self, server: Server, way: Way) -> None:
        assert server._gate is not None
        self.server = server
        self.gate = server._gate
        self.way = way
        self.transport = StillTransport()
        self.session: Any = server_stream(
            _protocol_of(server, way), server._accepting.parts_at(Address.parse("tcp://127.0.0.1:1"))
        )
        self.session.connection_made(self.transport)
        self.engine: Any = self.session.engine

    async def open(self) -> None:
        """Let the peer be through its opening."""
        if self.way.opening:
            await self.give(self.way.opening)

    async def answered(self) -> None:
        """Let the peer be through its opening, and have been sent something: only then a transport can hold output."""
        await self.open()
        if not self.way.opening:
            await self.give(self.way.short)
        await eventually(lambda: self.transport.written)

    async def give(self, data: bytes, *, blocks: float = 0.0) -> None:
        """Receive bytes in a callback of the loop, as transports do it, which something may have blocked."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        loop.call_soon(lambda: done.set_result(self._receive(data, blocks)))
        await done

    def _receive(self, data: bytes, blocks: float) -> None:
        until = time.monotonic() + blocks
        while time.monotonic() < until:
            # The loop is blocked.
            pass
        with memoryview(self.session.get_buffer(len(data))) as place:
            place[: len(data)] = data
        self.session.buffer_updated(len(data))

    def prove(self, seconds: float | None) -> None:
        """Let the peer have proved by its certificate who it is, for so long."""
        generation = (
            self.gate.guards.access.authentication.generation if self.gate.guards.access is not None else 0
        )
        self.engine.identify(Identity("ada"), seconds, by_certificate=True, generation=generation)

    async def begun(self) -> None:
        """Let the peer make a call whose handler waits."""
        await self.give(self.way.held)
        await eventually(lambda: self.gate.running == 1)

    def look(self, seconds: float) -> float:
        """Let so much time have passed since now; return the seconds until the next check, 0 for none."""
        now = time.monotonic_ns()
        due = check(self.engine, now + int(seconds * SECOND))
        return (due - now) / SECOND if due else 0.0

    @property
    def is_over(self) -> bool:
        """Whether the connection is closed, or has to close."""
        return self.engine.is_closed or self.transport.is_closing()

    @property
    def drains(self) -> bool:
        return bool(self.engine.connection.is_draining)

    def lose(self) -> None:
        """End the stream below, unless that was done."""
        if self.session.transport is not None:
            self.session.connection_lost(None)


def _protocol_of(server: Server, way: Way) -> Protocol:
    """Return the protocol that a server would detect by the bytes of a way."""
    name = way.detected or way.protocol
    return next(one for one in server_protocols(server._config) if one.name == name)


@asynccontextmanager
async def lived(
    column: str,
    *,
    count: int = 1,
    shop: Any = None,
    authenticate: Any = None,
    idle_seconds: float = 80_000,
    **settings: Any,
) -> AsyncIterator[Any]:
    """Yield a connection of a column, or several; they are gone before the server closes."""
    way = COLUMNS[column]
    limits = HTTPLimits(
        header_seconds=HANDSHAKE_SECONDS, idle_seconds=idle_seconds, body_idle_seconds=PATIENCE_SECONDS
    )
    if way.protocol == "http":
        settings["http"] = HTTP(websocket=True, limits=limits)
    config = ServerConfig(protocols=(way.protocol,), **settings)
    server = Server(shop or Shop(), config=config, authenticate=authenticate)
    await server.start()
    connections = [LivedConnection(server, way) for _ in range(count)]
    try:
        yield connections[0] if count == 1 else connections
    finally:
        for connection in connections:
            connection.lose()
        await server.close()

"""A layer that changes every byte lies between a transport and a session: engines of any protocol notice nothing.

TLS is such a layer: `ssl.SSLObject` does with its two `MemoryBIO`s the work that this layer does with a mask.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from fastrpc import Server, ServerConfig
from fastrpc.endpoint import Address
from tests.support import toy_protocol  # noqa: F401 - it registers itself
from tests.support.engine import frames
from tests.support.frame_factory import opening, request
from tests.support.peer_writing import write_to
from tests.support.shop import Shop
from tests.support.wire_frames import Response

MASK = bytes(byte ^ 0x5A for byte in range(256))


class MaskingTransport(asyncio.Transport):
    """The transport of a session."""

    def __init__(self, below: asyncio.Transport) -> None:
        super().__init__()
        self.below = below

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.below.write(bytes(data).translate(MASK))

    def __getattribute__(self, name: str) -> Any:
        if name in {"write", "writelines", "below", "__class__"}:
            return super().__getattribute__(name)
        return getattr(super().__getattribute__("below"), name)


class Masked(asyncio.Protocol):
    """The protocol of the transport."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.session.connection_made(MaskingTransport(cast(asyncio.Transport, transport)))

    def data_received(self, data: bytes) -> None:
        place = self.session.get_buffer(len(data))
        place[: len(data)] = data.translate(MASK)
        self.session.buffer_updated(len(data))

    def eof_received(self) -> bool:
        return bool(self.session.eof_received())

    def connection_lost(self, exc: Exception | None) -> None:
        self.session.connection_lost(exc)

    def pause_writing(self) -> None:
        self.session.pause_writing()

    def resume_writing(self) -> None:
        self.session.resume_writing()


@asynccontextmanager
async def masked(protocol: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    loop = asyncio.get_running_loop()
    async with Server(Shop, config=ServerConfig(protocols=(protocol,))) as server:
        make_session = server._accepting.session_maker(Address.parse("tcp://127.0.0.1:1"))
        listener = await loop.create_server(lambda: Masked(make_session()), "127.0.0.1", 0)
        host, port = listener.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield reader, writer
        finally:
            listener.close()
            writer.close()


async def test_a_protocol_in_python_is_served_through_a_layer() -> None:
    async with masked("toy") as (reader, writer):
        write_to(writer, b'shop.price "apple"\n'.translate(MASK))
        assert (await reader.readexactly(7)).translate(MASK) == b"1 OK 5\n"


@pytest.mark.parametrize("size", [10, 30_000])
async def test_the_native_protocol_is_served_through_a_layer(size: int) -> None:
    payload = b"\x91\xdb" + size.to_bytes(4, "big") + b"a" * size
    async with masked("native") as (reader, writer):
        sent = opening(False) + request(1, payload, method=b"shop.price", codec=1)
        write_to(writer, sent.translate(MASK))
        received = b""
        while not any(isinstance(frame, Response) for frame in frames(received[8:], by_server=True)):
            chunk = await reader.read(65_536)
            assert chunk
            received += chunk.translate(MASK)
        [answer] = [frame for frame in frames(received[8:], by_server=True) if isinstance(frame, Response)]
        assert answer.payload == (b"\x0a" if size == 10 else b"\xcd" + size.to_bytes(2, "big"))

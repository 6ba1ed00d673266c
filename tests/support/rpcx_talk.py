"""The client's end of a connection that speaks rpcx by hand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastrpc import Server
from tests.support.peer_writing import write_to
from tests.support.rpcx_wire import MAGIC, Frame, RpcxParser

__all__ = ["RpcxTalk", "rpcx_talk"]

WAIT_SECONDS = 30.0


class RpcxTalk:
    """Frames out, frames in."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, magic: int) -> None:
        self.reader = reader
        self.writer = writer
        self.magic = magic
        self._parser = RpcxParser(magic if magic == MAGIC else None)
        self._frames: list[Frame] = []

    def send(self, *frames: Frame | bytes) -> None:
        """Write frames without waiting for anybody to take them."""
        write_to(
            self.writer, b"".join(one if isinstance(one, bytes) else one.encode(self.magic) for one in frames)
        )

    async def hear(self) -> Frame:
        """Return the next frame; EOFError: the connection ended."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not self._frames:
                data = await self.reader.read(65_536)
                if not data:
                    raise EOFError("the connection ended")
                self._frames += self._parser.feed(data)
        return self._frames.pop(0)

    async def ask(self, frame: Frame | bytes) -> Frame:
        """Send a frame and return the next one that comes."""
        self.send(frame)
        return await self.hear()

    async def is_closed(self) -> bool:
        """Wait for the end of the connection; False: something came instead."""
        try:
            await self.hear()
        except (EOFError, ConnectionError):
            return True
        return False


@asynccontextmanager
async def rpcx_talk(server: Server, *, magic: int = MAGIC) -> AsyncIterator[RpcxTalk]:
    """Connect to a server by hand."""
    [listener] = server._listening.listeners
    reader, writer = await asyncio.open_connection(listener.address.host, listener.address.port)
    try:
        yield RpcxTalk(reader, writer, magic)
    finally:
        writer.close()

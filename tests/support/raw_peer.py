"""One end of a connection that speaks frames by hand, so that it can stay silent, lag or break rules."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from tests.support.peer_writing import write_to
from tests.support.wire_frames import Frame
from tests.support.wire_parser import Parser, Preface

__all__ = ["RawPeer", "RawServer", "raw_client"]

F = TypeVar("F", bound=Frame)

WAIT_SECONDS = 30.0
LARGEST_FRAME = 16 * 1024 * 1024


class _Reader(asyncio.StreamReader):
    """A stream that reports the end of its connection before the bytes in front of that are read."""

    has_ended = False

    def feed_eof(self) -> None:
        self.has_ended = True
        super().feed_eof()

    def set_exception(self, exc: Exception) -> None:
        self.has_ended = True
        super().set_exception(exc)


class RawPeer:
    """Frames in, frames out; it answers nothing by itself.

    Args:
        is_server: which end it is.
    """

    def __init__(self, reader: _Reader, writer: asyncio.StreamWriter, *, is_server: bool) -> None:
        self.frames: list[Frame] = []
        self._reader = reader
        self._writer = writer
        self._parser = Parser(is_server, max_frame=LARGEST_FRAME)
        # It returns no credit by itself; whether the other end goes by that is for the tests to see.
        self._parser.window_left = 2**40

    @property
    def is_over(self) -> bool:
        """Whether the other side has shut down writing, or reset."""
        return self._reader.has_ended

    def send(self, *frames: bytes) -> None:
        """Write bytes without waiting for anybody to take them."""
        write_to(self._writer, b"".join(frames))

    async def next(self, kind: type[F]) -> F:
        """Return the next frame of this kind; those in front of it are kept in `frames`."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                frame = self._parser.next_frame()
                if frame is None:
                    chunk = await self._reader.read(65_536)
                    if not chunk:
                        # `Frame` itself, any of them, is a union, which has no name.
                        name = getattr(kind, "__name__", kind)
                        raise EOFError(f"the connection ended without {name}; {self.frames[-3:]}")
                    self._parser.feed(chunk)
                elif isinstance(frame, Preface):
                    continue
                else:
                    self.frames.append(frame)
                    if isinstance(frame, kind):
                        return frame

    async def ended(self) -> bytes:
        """Return the bytes that came until the other side shut down writing, or reset."""
        received = b""
        async with asyncio.timeout(WAIT_SECONDS):
            try:
                while chunk := await self._reader.read(65_536):
                    received += chunk
            except ConnectionError:
                pass
        return received

    def close(self) -> None:
        """Close; nobody waits for it."""
        self._writer.transport.abort()


@asynccontextmanager
async def raw_client(
    address: str, *, receive_bytes: int | None = None, tls: ssl.SSLContext | None = None
) -> AsyncIterator[RawPeer]:
    """Connect to `tcp://host:port`, or with a context of TLS to `tls://host:port`.

    Args:
        receive_bytes: how much the system may keep unread, as little as it allows when small.
    """
    host, _, port = address.partition("://")[2].rpartition(":")
    opened = socket.socket()
    opened.setblocking(False)
    if receive_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(opened, (host, int(port)))
    reader = _Reader(limit=4096 if receive_bytes else 65_536)
    transport, protocol = await loop.create_connection(
        lambda: asyncio.StreamReaderProtocol(reader),
        sock=opened,
        ssl=tls,
        server_hostname=None if tls is None else host,
    )
    peer = RawPeer(reader, asyncio.StreamWriter(transport, protocol, reader, loop), is_server=False)
    try:
        yield peer
    finally:
        peer.close()


class RawServer:
    """Accepts connections at a free port; each is handed out by `accept`.

    Args:
        host: where it listens.
        receive_bytes: how much the system may keep unread, as of `raw_client`.
    """

    def __init__(self, *, host: str = "127.0.0.1", receive_bytes: int | None = None) -> None:
        self._host = host
        self._receive_bytes = receive_bytes
        self.address = ""
        self.accepted_at: list[float] = []
        #: Close each connection at once instead.
        self.refuses = False
        self._peers: asyncio.Queue[RawPeer] = asyncio.Queue()
        self._all: list[RawPeer] = []
        self._server: asyncio.Server

    async def __aenter__(self) -> "RawServer":
        listening = socket.create_server((self._host, 0))
        if self._receive_bytes is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: asyncio.StreamReaderProtocol(_Reader(), self._take), sock=listening
        )
        host, port = self._server.sockets[0].getsockname()[:2]
        self.address = f"tcp://{host}:{port}"
        return self

    async def __aexit__(self, *error: object) -> None:
        self._server.close()
        for peer in self._all:
            peer.close()

    def stop(self) -> None:
        """Accept no more."""
        self._server.close()

    async def accept(self) -> RawPeer:
        """Return the next connection, waiting for it."""
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._peers.get()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Reader)
        self.accepted_at.append(asyncio.get_running_loop().time())
        peer = RawPeer(reader, writer, is_server=True)
        self._all.append(peer)
        if self.refuses:
            peer.close()
        self._peers.put_nowait(peer)

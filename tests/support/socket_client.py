"""A client of WebSocket for tests, on a connection whose bytes a test sends and reads."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.support.http_talk import WAIT_SECONDS, HttpClient, Response, request
from tests.support.socket_frames import BINARY, CLOSE, PING, PONG, TEXT, Frame, client_frame, read_frame

__all__ = ["KEY", "SocketClient", "called", "handshake", "opened_socket"]

#: The key and its answer in RFC 6455, section 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPTED = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def handshake(target: str, *, protocols: str | None = None, **fields: str | None) -> bytes:
    """Return the request that asks for a WebSocket."""
    given: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": KEY,
        "Sec_WebSocket_Protocol": protocols,
    }
    return request("GET", target, **given | fields)


def bearer(token: str) -> str:
    """Return the subprotocol that carries a token."""
    return "fastrpc.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


class SocketClient:
    """The messages of one WebSocket."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http
        self.kept = b""
        self.is_packed = False

    async def open(self, target: str, *, protocols: str | None = None, **fields: str | None) -> Response:
        """Ask for a WebSocket, and return the answer."""
        self.http.send(handshake(target, protocols=protocols, **fields))
        async with asyncio.timeout(WAIT_SECONDS):
            answer = await self.http.head()
            if answer.status != 101:
                answer.body = await self.http.reader.readexactly(int(answer["content-length"]))
                return answer
        assert (answer["upgrade"].lower(), answer["sec-websocket-accept"]) == ("websocket", ACCEPTED)
        self.is_packed = (
            "sec-websocket-protocol" in answer and answer["sec-websocket-protocol"] == "fastrpc.msgpack"
        )
        return answer

    def send(self, *envelopes: Any) -> None:
        """Send messages, in one piece."""
        kind = BINARY if self.is_packed else TEXT
        encode = msgspec.msgpack.encode if self.is_packed else msgspec.json.encode
        self.http.send(b"".join(client_frame(kind, encode(envelope)) for envelope in envelopes))

    async def frame(self) -> Frame:
        """Return the next frame."""
        async with asyncio.timeout(WAIT_SECONDS):
            while (found := read_frame(self.kept)) is None:
                data = await self.http.reader.read(65_536)
                if not data:
                    raise EOFError("the connection ended without a close frame")
                self.kept += data
        frame, size = found
        self.kept = self.kept[size:]
        return frame

    async def receive(self) -> Any:
        """Return the next message."""
        frame = await self.frame()
        if frame.opcode in (PING, PONG):
            return await self.receive()
        assert frame.opcode == (BINARY if self.is_packed else TEXT), frame
        return msgspec.msgpack.decode(frame.content) if self.is_packed else json.loads(frame.content)

    async def rest(self) -> tuple[list[Any], int]:
        """Return the messages up to the close frame, and its code; answer it."""
        found: list[Any] = []
        while True:
            frame = await self.frame()
            if frame.opcode == CLOSE:
                self.http.send(client_frame(CLOSE, frame.content[:2]))
                return found, frame.code
            if frame.opcode in (TEXT, BINARY):
                found.append(
                    msgspec.msgpack.decode(frame.content) if self.is_packed else json.loads(frame.content)
                )


@asynccontextmanager
async def opened_socket(http: HttpClient, target: str, **options: Any) -> AsyncIterator[SocketClient]:
    """Yield a WebSocket."""
    socket = SocketClient(http)
    answer = await socket.open(target, **options)
    assert answer.status == 101, answer
    yield socket


async def called(http: HttpClient, method: str, *envelopes: Any, **options: Any) -> tuple[list[Any], int]:
    """Call a method of the shop; return its messages, and the code of the close frame."""
    async with opened_socket(http, f"/ws/shop.v1/{method}", **options) as socket:
        socket.send(*envelopes)
        return await socket.rest()

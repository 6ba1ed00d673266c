"""A client of WebSocket over a stream of HTTP/2 (RFC 8441), with the methods of `SocketClient`."""

from __future__ import annotations

from typing import Any

from tests.support.http2_client import Http2Client
from tests.support.http_talk import Response
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

__all__ = ["Http2SocketClient", "Tunnel"]


class Tunnel:
    """A stream of HTTP/2 in place of the connection of a socket: it sends bytes, and reads them."""

    def __init__(self, client: Http2Client, stream: int) -> None:
        self.client = client
        self.stream = stream
        self.reader = self
        self._read = 0

    def send(self, data: bytes) -> None:
        """Send bytes, unless the server has closed the stream."""
        if self.client.peer.answers[self.stream].reset is None:
            self.client.send(self.stream, data)

    def end(self) -> None:
        """Send the end of the stream."""
        self.client.send(self.stream, b"", ends=True)

    async def read(self, size: int) -> bytes:
        """Return the next bytes; empty at the end of the stream."""
        answer = self.client.peer.answers[self.stream]
        await eventually(
            lambda: len(answer.data) > self._read or answer.is_over or self.client.peer.is_closed
        )
        found = answer.data[self._read : self._read + size]
        self._read += len(found)
        return found


class Http2SocketClient(SocketClient):
    """The messages of one WebSocket."""

    def __init__(self, client: Http2Client) -> None:
        self.client = client
        self.stream = 0
        self.kept = b""
        self.is_packed = False

    async def open(self, target: str, *, protocols: str | None = None, **fields: str | None) -> Response:
        """Ask for a WebSocket, and return the answer."""
        given = {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Protocol": protocols}
        self.stream = self.client.connect(target, **given | fields)
        http: Any = Tunnel(self.client, self.stream)
        self.http = http
        answer = await self.client.head(self.stream)
        if answer.status != 200:
            return await self.client.end(self.stream)
        assert "sec-websocket-accept" not in answer
        self.is_packed = (
            "sec-websocket-protocol" in answer and answer["sec-websocket-protocol"] == "fastrpc.msgpack"
        )
        return answer

    @property
    def is_over(self) -> bool:
        """Whether the server has ended the stream."""
        return self.client.peer.answers[self.stream].is_over

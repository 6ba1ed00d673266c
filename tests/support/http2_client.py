"""A client of HTTP by HTTP/2 for tests, with the methods of `HttpClient`: it sends the bytes of a test."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import Address
from tests.support.grpc_peer import GrpcPeer, grpc_peer
from tests.support.http_talk import Response, content_of, fields_of
from tests.support.waiting import eventually

__all__ = ["Http2Client", "http2_client"]


class Http2Client:
    """One connection, whose requests may overlap."""

    def __init__(self, peer: GrpcPeer) -> None:
        self.peer = peer

    def begin(
        self, method: str, target: str, body: Any = b"", *, ends: bool = False, **fields: str | None
    ) -> int:
        """Send the head of a request, and return its stream."""
        given = [
            (name.lower(), value.encode().decode("latin-1"))
            for name, value in fields_of(method, body, **fields).items()
            if name != "Host"
        ]
        authority = fields.get("Host") or "localhost"
        return self.peer.open(target, given, ends=ends, method=method, kind=None, authority=authority)

    def connect(self, target: str, protocol: str | None = "websocket", **fields: str | None) -> int:
        """Ask for a tunnel by an extended CONNECT (RFC 8441), and return its stream."""
        given = fields_of("CONNECT", **fields)
        head = [
            (":method", "CONNECT"),
            *([] if protocol is None else [(":protocol", protocol)]),
            (":scheme", "http"),
            (":path", target),
            (":authority", given.pop("Host")),
        ]
        return self.peer.begin([*head, *((name.lower(), value) for name, value in given.items())])

    def send(self, stream: int, part: bytes, *, ends: bool = False) -> None:
        """Send a part of a body."""
        self.peer.send(stream, part, ends=ends)

    async def head(self, stream: int) -> Response:
        """Wait for the head of an answer, and return it with the received part of its body."""
        answer = self.peer.answers[stream]
        await eventually(lambda: answer.head or answer.is_over or self.peer.is_closed)
        return self._response(stream)

    async def until(self, stream: int, part: bytes) -> bytes:
        """Wait for a part of an answer, and return the body so far."""
        answer = self.peer.answers[stream]
        await eventually(lambda: part in answer.data or answer.is_over or self.peer.is_closed)
        assert part in answer.data, answer
        return answer.data

    async def end(self, stream: int) -> Response:
        """Wait for the end of an answer, and return it."""
        await self.peer.end(stream)
        return self._response(stream)

    def _response(self, stream: int) -> Response:
        answer = self.peer.answers[stream]
        assert answer.head, (answer, self.peer.goaways)
        fields = [(name, value) for name, value in answer.fields if name != ":status"]
        return Response(int(answer.head[":status"]), fields, answer.data)

    async def ask(self, method: str, target: str, body: Any = b"", **fields: str | None) -> Response:
        """Send a request, and return its response."""
        return await self.end(await self.start(method, target, body, **fields))

    async def start(self, method: str, target: str, body: Any = b"", **fields: str | None) -> int:
        """Send a request, and return its stream."""
        content = content_of(body)
        stream = self.begin(method, target, body, ends=not content, **fields)
        await self.peer.send_all(stream, content, ends=True)
        return stream

    async def post(self, target: str, body: Any = b"", **fields: str | None) -> Response:
        return await self.ask("POST", target, body, **fields)

    async def get(self, target: str, **fields: str | None) -> Response:
        return await self.ask("GET", target, **fields)


@asynccontextmanager
async def http2_client(
    address: Address | str, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Http2Client]:
    """Connect to a server, and yield the connection once its settings came."""
    async with grpc_peer(address, tls=tls) as peer:
        yield Http2Client(peer)

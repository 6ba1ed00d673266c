"""Calls by gRPC-Web and Connect for tests, written by hand from their documents: bodies, answers, and a service."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import fastrpc
from fastrpc import HTTP, CallError, Server, ServerConfig, Status, current_call
from tests.support.http2_client import Http2Client, http2_client
from tests.support.http_talk import HttpClient, Response

__all__ = ["CONNECT", "Orders", "Serving", "cut", "enveloped", "frames", "in_parts", "serving", "trailers_of"]

#: The field of a POST of JSON that makes it a call by Connect.
CONNECT = {"Connect_Protocol_Version": "1"}


#: `serving` below, for a version of HTTP.
Serving = Callable[..., contextlib.AbstractAsyncContextManager[Any]]


@fastrpc.service("shop.v1.orders", grpc="pascal")
class Orders:
    """Every shape of method."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    @fastrpc.method(safe=True)
    async def get_item(self, id: int) -> str:
        if id == 0:
            raise CallError(Status.NOT_FOUND, "no order 0", details={"id": 0})
        current_call().reply_metadata["seen"] = "yes"
        return f"item {id}"

    @fastrpc.method
    async def show(self) -> dict[str, str]:
        """Return the caller as the handler sees it."""
        call = current_call()
        call.reply_metadata.binary["raw-bin"] = b"\0\1"
        return {**call.metadata, "protocol": call.peer.protocol, "timed": str(call.remaining() is not None)}

    @fastrpc.method
    async def change(self, id: int) -> int:
        return id

    @fastrpc.method
    async def fail(self, code: int, key: str = "") -> None:
        if key:
            current_call().reply_metadata[key] = "x"
            return
        raise CallError(Status(code), f"über {code}")

    @fastrpc.method
    async def twice(self) -> str:
        call = current_call()
        call.reply_metadata["first"] = "head"
        await call.send_metadata()
        call.reply_metadata["last"] = "end"
        return "done"

    @fastrpc.method
    async def count(self, to: int, *, text: str = "") -> AsyncIterator[str]:
        current_call().reply_metadata["first"] = "head"
        for number in range(to):
            yield f"{text}{number}"
        current_call().reply_metadata["last"] = "end"
        if to > 3:
            raise CallError(Status.ABORTED, "too many")

    @fastrpc.method
    async def add(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def both(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield number * 2

    @fastrpc.method
    async def wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@contextlib.asynccontextmanager
async def serving(
    *sources: Any,
    grpc_web: bool = True,
    connect: bool = True,
    origins: tuple[str, ...] = (),
    version: str = "1.1",
    **options: Any,
) -> AsyncIterator[Any]:
    """Serve the orders by both protocols over a version of HTTP, and connect to them."""
    server_options = {name: options.pop(name) for name in ("authenticate", "limits") if name in options}
    http = HTTP(grpc_web=grpc_web, connect=connect, cors_origins=origins)
    config = ServerConfig(protocols=("native", "http" if version == "1.1" else "grpc"), http=http, **options)
    async with Server(*(sources or [Orders()]), config=config, **server_options) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) if version == "1.1" else http2_client(address) as client:
            yield client


async def in_parts(
    client: HttpClient | Http2Client, method: str, parts: Iterable[bytes], kind: str
) -> Response:
    """Call a method of the orders with a body that comes in parts, and whose length is not stated."""
    path = f"/shop.v1.Orders/{method}"
    if isinstance(client, Http2Client):
        stream = client.begin("POST", path, Content_Type=kind, Content_Length=None)
        for part in parts:
            client.send(stream, part)
        client.send(stream, b"", ends=True)
        return await client.end(stream)
    client.send(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n".encode())
    client.send(f"Content-Type: {kind}\r\n\r\n".encode())
    for part in parts:
        client.send(b"%x\r\n%b\r\n" % (len(part), part))
    client.send(b"0\r\n\r\n")
    return await client.response()


def enveloped(*messages: Any, flags: int = 0) -> bytes:
    """Return messages after their flags and lengths; a value other than bytes is sent as JSON."""
    written = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in messages]
    return b"".join(bytes((flags,)) + len(one).to_bytes(4, "big") + one for one in written)


def frames(body: bytes) -> list[tuple[int, bytes]]:
    """Return the flags and the contents in a body."""
    found = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        assert len(body) >= 5 + size, body
        found.append((body[0], body[5 : 5 + size]))
        body = body[5 + size :]
    return found


def cut(answer: Response) -> tuple[list[Any], dict[str, Any]]:
    """Return the messages in JSON, and the end of an answer by a stream of Connect."""
    *messages, (flags, end) = frames(answer.body)
    assert flags == 2
    assert all(flags == 0 for flags, _ in messages)
    return [json.loads(message) for _, message in messages], json.loads(end)


def trailers_of(body: bytes) -> dict[str, str]:
    """Return the trailers at the end of a body of gRPC-Web."""
    flags, content = frames(body)[-1]
    assert flags == 0x80
    lines = content.decode().split("\r\n")
    assert lines.pop() == ""
    return dict(line.split(": ", 1) for line in lines)

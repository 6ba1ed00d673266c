"""A server with every way in by HTTP, and a request for each: the rows of tables over the versions of HTTP.

async with every_way() as served:                       # JSON, routes, forms, streams, JSON-RPC, MCP, mounts, gateways
    async with http_client("2", served.address) as client:
        answer = await client.ask(*REQUESTS["a route"].line, **REQUESTS["a route"].fields)
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

import fastrpc
from fastrpc import (
    HTTP,
    Address,
    CallError,
    Limits,
    Server,
    ServerConfig,
    Status,
    Timeouts,
    Upload,
    current_call,
)
from tests.support.web_talk import CONNECT

__all__ = [
    "EVENTS",
    "FORM",
    "LINES",
    "ORIGIN",
    "REQUESTS",
    "Asking",
    "EveryWay",
    "Ways",
    "every_way",
    "form_of",
]

LINES = "application/x-ndjson"
EVENTS = "text/event-stream"
FORM = "multipart/form-data; boundary=XyZ"
ORIGIN = "https://shop.example"

#: More than this is not a message.
MESSAGE_BYTES = 100_000

_MCP = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Pair(msgspec.Struct, rename="pascal"):
    a: int
    b: int


@fastrpc.service("ways", grpc="pascal", rpcx="go")
class Ways:
    """Every shape of method."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.may_go_on = asyncio.Event()

    @fastrpc.method(safe=True, tool=True)
    async def echo(self, text: str) -> str:
        """Return a text."""
        return text

    @fastrpc.method
    async def twice(self, pair: Pair) -> list[int]:
        return [2 * pair.a, 2 * pair.b]

    @fastrpc.method(safe=True, http="GET /items/{name}")
    async def item(self, name: str, size: int = 1) -> dict[str, Any]:
        current_call().http(headers={"ETag": '"7"', "Cache-Control": "max-age=60"})
        return {"name": name, "size": size}

    @fastrpc.method(http="DELETE /items/{name}")
    async def remove(self, name: str) -> None:
        current_call().http(status=204)

    @fastrpc.method(http="POST /photos/{album}")
    async def put(self, photo: Upload, album: str, stars: int = 0) -> list[Any]:
        await self._stopped()
        size = sum([len(piece) async for piece in photo])
        return [photo.filename, photo.content_type, album, stars, size]

    @fastrpc.method
    async def fail(self, status: str) -> None:
        raise CallError(Status[status], f"it is {status}", details={"why": [1, "b"]})

    @fastrpc.method
    async def who(self) -> list[Any]:
        call = current_call()
        call.reply_metadata["answer"] = "ä b%c"
        left = call.remaining()
        return [call.peer.protocol, dict(call.metadata), None if left is None else left < 100]

    @fastrpc.method
    async def wait(self) -> str:
        await self._stopped()
        return "waited"

    @fastrpc.method
    async def count(self, to: int, fail_at: int = -1) -> AsyncIterator[int]:
        for number in range(to):
            if number == fail_at:
                raise CallError(Status.ABORTED, "enough")
            yield number

    @fastrpc.method
    async def ticks(self, size: int = 0) -> AsyncIterator[Any]:
        """Yield one number, and further ones after its release; texts of a size without a pause."""
        self.started += 1
        try:
            number = 0
            while True:
                yield "x" * size if size else number
                number += 1
                if not size:
                    await self.may_go_on.wait()
        finally:
            self.cancelled += 1

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        await self._stopped()
        return start + sum([number async for number in numbers])

    @fastrpc.method
    async def double(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    async def _stopped(self) -> None:
        self.started += 1
        try:
            await self.may_go_on.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Application:
    """A mounted application: it answers with its scope, and echoes the messages of a WebSocket."""

    def __init__(self) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await self._socket(receive, send)
            return
        assert scope["type"] == "http", scope["type"]
        body, event = b"", {"more_body": True}
        while event["more_body"]:
            event = await receive()
            if event["type"] == "http.disconnect":
                self.ended.append("disconnect")
                return
            body += event["body"]
        headers = [(b"content-type", b"text/plain"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": b"%d " % len(body), "more_body": True})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async def _socket(self, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        self.ended.append("socket")


@dataclass
class EveryWay:
    """A server, its services, and its addresses."""

    server: Server
    address: Address
    ways: Ways
    application: Application


@asynccontextmanager
async def every_way(
    protocols: tuple[str, ...] = ("native", "http", "grpc"),
    *,
    address: str = "tcp://127.0.0.1:0",
    http: dict[str, Any] | None = None,
    holds: bool = False,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[EveryWay]:
    """Serve every way in; the options are arguments of the server.

    Args:
        holds: whether waiting methods wait until a test releases them.
    """
    ways, application = Ways(), Application()
    if not holds:
        ways.may_go_on.set()
    flags = ("jsonrpc", "mcp", "rpcx", "phobos", "websocket", "connect", "grpc_web", "docs", "compress")
    given = dict.fromkeys(flags, True) | {"cors_origins": (ORIGIN,), "mounts": {"/app": application}}
    if options is not None and "authenticate" in options:
        given["mount_authenticated"] = False
    given_settings: dict[str, Any] = {
        "limits": Limits(message_bytes=MESSAGE_BYTES),
        "timeouts": Timeouts(drain=5.0, call=60.0),
        "http": HTTP(**given | (http or {})),
    }
    config = ServerConfig(protocols=protocols, **given_settings | settings)
    async with Server(ways, config=config, **(options or {})) as server:
        try:
            yield EveryWay(server, await server.listen(address), ways, application)
        finally:
            ways.may_go_on.set()


def form_of(content: bytes, *fields: tuple[str, str]) -> bytes:
    """Return a form with a file after its fields."""
    parts = [
        f'--XyZ\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields
    ]
    head = 'Content-Disposition: form-data; name="photo"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n'
    return b"%b--XyZ\r\n%b\r\n%b\r\n--XyZ--\r\n" % ("".join(parts).encode(), head.encode(), content)


@dataclass(frozen=True)
class Asking:
    """One request, and the fields of its answer."""

    method: str
    target: str
    body: Any = b""
    status: int = 200
    #: In the content of the answer.
    part: bytes = b""
    fields: dict[str, str | None] = field(default_factory=dict)

    @property
    def line(self) -> tuple[str, str, Any]:
        return self.method, self.target, self.body


def _lines(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _rpc(**more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "ways.echo", **more}


def _tool(method: str, **params: Any) -> Asking:
    body = _rpc(id=1) | {"method": method, "params": {**params, "_meta": _MCP}}
    fields: dict[str, str | None] = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": method}
    if "name" in params:
        fields["Mcp_Name"] = params["name"]
    return Asking(
        "POST", "/mcp", body, part=b"ways_echo" if method == "tools/list" else b'"a"', fields=fields
    )


_PACKED: dict[str, str | None] = {"Content_Type": "application/msgpack"}
_RPCX: dict[str, str | None] = {
    "Content_Type": None,
    "X_RPCX_ServicePath": "ways",
    "X_RPCX_ServiceMethod": "Twice",
    "X_RPCX_SerializeType": "1",
    "X_RPCX_MessageID": "7",
}
_PHOBOS: dict[str, str | None] = {
    "Content_Type": None,
    "PHOBOS_Gateway_ServiceMethod": "echo",
    "PHOBOS_Gateway_SerializeType": "1",
    "PHOBOS_Gateway_MessageID": "7",
}
_PREFLIGHT: dict[str, str | None] = {
    "Origin": ORIGIN,
    "Access_Control_Request_Method": "POST",
    "Access_Control_Request_Headers": "content-type",
}
_TEXT = {"text": "a"}
_LONG = {"text": "fastrpc " * 1_000}
_TOO_LONG = {"text": "x" * (MESSAGE_BYTES + 1)}

REQUESTS = {
    "JSON": Asking("POST", "/ways/echo", _TEXT, part=b'"a"'),
    "msgpack": Asking("POST", "/ways/echo", msgspec.msgpack.encode(_TEXT), part=b"\xa1a", fields=_PACKED),
    "GET of a safe method": Asking("GET", "/ways/echo?text=a%20b", part=b'"a b"'),
    "HEAD of a safe method": Asking("HEAD", "/ways/echo?text=a"),
    "metadata": Asking("POST", "/ways/who", {}, part=b'"own":"7"', fields={"Meta_Own": "7"}),
    "a deadline": Asking("POST", "/ways/who", {}, part=b"true", fields={"Timeout_Ms": "90000"}),
    "a route": Asking("GET", "/items/red%20tea?size=3", part=b'"red tea"'),
    "a route that was stored": Asking("GET", "/items/tea", status=304, fields={"If_None_Match": '"7"'}),
    "a route without an answer": Asking("DELETE", "/items/tea", status=204),
    "HEAD of a route": Asking("HEAD", "/items/tea"),
    "a form with a file": Asking(
        "POST",
        "/photos/sea",
        form_of(b"\r\n--Xy" * 3_000, ("stars", "4")),
        part=b"18000",
        fields={"Content_Type": FORM},
    ),
    "lines": Asking("POST", "/ways/count", {"to": 3}, part=b'{"value":2}\n{"end"', fields={"Accept": LINES}),
    "lines with an error": Asking("POST", "/ways/count", {"to": 3, "fail_at": 1}, part=b"ABORTED"),
    "lines of the caller": Asking(
        "POST",
        "/ways/total",
        _lines({"arguments": {"start": 1}}, {"value": 2}, {"value": 3}),
        part=b"6",
        fields={"Content_Type": LINES},
    ),
    "lines both ways": Asking(
        "POST",
        "/ways/double",
        _lines({"value": 2}, {"value": 3}),
        part=b'{"value":6}',
        fields={"Content_Type": LINES},
    ),
    "events": Asking("POST", "/ways/count", {"to": 2}, part=b"data: 1\n", fields={"Accept": EVENTS}),
    "JSON-RPC": Asking("POST", "/jsonrpc", _rpc(id=1, params=_TEXT), part=b'"result":"a"'),
    "a batch of JSON-RPC": Asking(
        "POST", "/jsonrpc", [_rpc(id=1, params=["a"]), _rpc(params=["b"]), _rpc(id=2)], part=b'"error"'
    ),
    "a notification of JSON-RPC": Asking("POST", "/jsonrpc", _rpc(params=["a"]), status=204),
    "the tools of MCP": _tool("tools/list"),
    "a tool of MCP": _tool("tools/call", name="ways_echo", arguments=_TEXT),
    "the index": Asking("GET", "/", part=b"<h1>"),
    "the pages": Asking("GET", "/docs", part=b"<html"),
    "OpenAPI": Asking("GET", "/openapi.json", part=b'"openapi"'),
    "the module of the client": Asking("GET", "/client.js", part=b"export"),
    "a mounted application": Asking("POST", "/app/a%20b?q=1", b"abc", status=201, part=b"3 /app/a b"),
    "HEAD of a mounted application": Asking("HEAD", "/app/x", status=201),
    "the header gateway of rpcx": Asking("POST", "/", {"A": 1, "B": 2}, part=b"[2,4]", fields=_RPCX),
    "the header gateway of Phobos": Asking("POST", "/ways", b'"a"', part=b'"a"', fields=_PHOBOS),
    "Connect": Asking("POST", "/ways/Echo", _TEXT, part=b"a", fields={**CONNECT}),
    "gzip": Asking("POST", "/ways/echo", _LONG, part=b"\x1f\x8b", fields={"Accept_Encoding": "gzip"}),
    "a preflight of CORS": Asking("OPTIONS", "/ways/echo", status=204, fields=_PREFLIGHT),
    "a page of an allowed origin": Asking(
        "POST", "/ways/echo", _TEXT, part=b'"a"', fields={"Origin": ORIGIN}
    ),
    "a page of another origin": Asking(
        "POST", "/ways/echo", _TEXT, 403, fields={"Origin": "https://evil.example"}
    ),
    "another host": Asking("POST", "/ways/echo", _TEXT, 421, fields={"Host": "evil.example"}),
    "a failure": Asking("POST", "/ways/fail", {"status": "NOT_FOUND"}, 404, b"it is NOT_FOUND"),
    "wrong arguments": Asking("POST", "/ways/echo", {"wrong": 1}, 400),
    "no JSON": Asking("POST", "/ways/echo", b"{", 400),
    "an unknown method": Asking("POST", "/ways/nothing", {}, 404),
    "an unknown path": Asking("GET", "/nothing/at/all", status=404),
    "a verb that is not taken": Asking("PUT", "/ways/echo", status=405),
    "a type that is not taken": Asking(
        "POST", "/ways/echo", b"a", 415, fields={"Content_Type": "text/plain"}
    ),
    "an answer that is not given": Asking(
        "POST", "/ways/count", {"to": 1}, 406, fields={"Accept": "image/png"}
    ),
    "a body that is too long": Asking("POST", "/ways/echo", _TOO_LONG, 413),
}

"""Every protocol and dialect of a server except the native one: how each calls a method, and its answers.

A way returns the status of a call's answer, None if the protocol sends none.
"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastrpc import Address, Status
from tests.support.grpc_peer import grpc_peer, message
from tests.support.http2_client import http2_client
from tests.support.http2_socket import Http2SocketClient
from tests.support.http_talk import HttpClient, Response
from tests.support.rpcx_talk import RpcxTalk
from tests.support.rpcx_wire import JSON, Frame, call
from tests.support.socket_client import SocketClient
from tests.support.socket_frames import CLOSE
from tests.support.web_talk import CONNECT, cut, enveloped, trailers_of

__all__ = ["WAYS", "Asked", "Way"]

#: The statuses of responses without a document.
_REFUSALS = {401: Status.UNAUTHENTICATED, 403: Status.PERMISSION_DENIED, 429: Status.RESOURCE_EXHAUSTED}

MCP_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


@dataclass(frozen=True)
class Asked:
    """One call: address, token, method."""

    address: Address
    tls: ssl.SSLContext | None
    #: None shows no token; "" shows an empty one.
    token: str | None
    method: str
    kind: str
    #: Seconds between the first bytes of the connection, with which its certificate is verified, and the call.
    pauses: float = 0.0
    #: `tls` with the name of HTTP/2 in ALPN.
    h2: ssl.SSLContext | None = None

    @property
    def service(self) -> str:
        return self.method.rpartition(".")[0]

    @property
    def name(self) -> str:
        return self.method.rpartition(".")[2]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"

    @property
    def fields(self) -> dict[str, str | None]:
        """The fields of each request by HTTP."""
        return {} if self.token is None else {"Authorization": self.token}


#: Makes one call; returns its status, None if none is sent.
Ask = Callable[[Asked], Awaitable[Status | None]]
#: Sends a request by a version of HTTP.
Http = Callable[..., Awaitable[Response]]
#: Connects a client of WebSocket by a version of HTTP.
Connect = Callable[[Asked], AbstractAsyncContextManager[SocketClient]]


@dataclass(frozen=True)
class Way:
    """A way in: a name of `ServerConfig.protocols`, a setting of `HTTP` if that has one, and how it calls."""

    protocol: str
    setting: str | None
    ask: Ask
    #: The name of the way by HTTP/1.1, for ways that differ in the version of HTTP alone.
    form: str


async def _rpcx(asked: Asked, magic: int) -> Status:
    options: dict[str, Any] = {} if asked.tls is None else {"ssl": asked.tls, "server_hostname": "127.0.0.1"}
    reader, writer = await asyncio.open_connection(asked.address.host, asked.address.port, **options)
    try:
        talk = RpcxTalk(reader, writer, magic)
        if asked.pauses:
            await talk.ask(Frame(heartbeat=True))
            await asyncio.sleep(asked.pauses)
        metadata = {} if asked.token is None else {"__AUTH": asked.token}
        one_way = call(asked.service, asked.name, {}, serialize=JSON, metadata=metadata, one_way=True)
        whole = call(asked.service, asked.name, {}, serialize=JSON, metadata=metadata)
        answer = await talk.ask(whole)
        if not answer.status:
            return Status.OK
        # A second refusal, which gets no answer. Refused tokens end a connection of rpcx: later bytes are not read.
        talk.send(one_way)
        return Status[answer.metadata["frpc-code"]]
    finally:
        writer.close()


async def _by_rpcx(asked: Asked) -> Status:
    return await _rpcx(asked, 0x08)


async def _by_phobos(asked: Asked) -> Status:
    return await _rpcx(asked, 0x42)


async def _http(asked: Asked, verb: str, target: str, body: Any = b"", **fields: str | None) -> Response:
    options: dict[str, Any] = {} if asked.tls is None else {"ssl": asked.tls, "server_hostname": "127.0.0.1"}
    async with await HttpClient.to(asked.address, **options) as client:
        if asked.pauses:
            await client.get("/")
            await asyncio.sleep(asked.pauses)
        return await client.ask(verb, target, body, **fields, **asked.fields)


async def _http2(asked: Asked, verb: str, target: str, body: Any = b"", **fields: str | None) -> Response:
    async with http2_client(asked.address, tls=asked.h2) as client:
        if asked.pauses:
            await asyncio.sleep(asked.pauses)
        return await client.ask(verb, target, body, **fields, **asked.fields)


def _told(response: Response) -> Status:
    """Return the status in a response of the gateway."""
    if response.status in (200, 204):
        match response["content-type"]:
            case "application/x-ndjson":
                last = response.lines[-1]
                return Status[last["error"]["code"]] if "error" in last else Status.OK
            case "text/event-stream":
                *_, last = response.body.split(b"\n\n")[:-1]
                kind, _, document = last.partition(b"\ndata: ")
                return Status[json.loads(document)["code"]] if kind == b"event: error" else Status.OK
        return Status.OK
    return Status[response.value["code"]]


async def _by_json(asked: Asked, http: Http = _http) -> Status:
    return _told(await http(asked, "POST", asked.path, {}))


async def _by_msgpack(asked: Asked, http: Http = _http) -> Status:
    return _told(await http(asked, "POST", asked.path, b"\x80", Content_Type="application/msgpack"))


async def _by_lines(asked: Asked, http: Http = _http) -> Status:
    body = b'{"arguments":{}}\n{"value":1}\n{"end":true}\n'
    fields = {"Content_Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    return _told(await http(asked, "POST", asked.path, body, **fields))


async def _by_events(asked: Asked, http: Http = _http) -> Status:
    return _told(await http(asked, "POST", asked.path, {}, Accept="text/event-stream"))


async def _by_get(asked: Asked, http: Http = _http) -> Status:
    return _told(await http(asked, "GET", asked.path))


async def _by_head(asked: Asked, http: Http = _http) -> Status:
    response = await http(asked, "HEAD", asked.path)
    return _REFUSALS.get(response.status, Status.OK)


async def _json_rpc(asked: Asked, body: Any, http: Http) -> Response | Status:
    response = await http(asked, "POST", "/jsonrpc", body)
    return response if response.status in (200, 204) else Status[response.value["code"]]


def _entry(asked: Asked, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": asked.method, **more}


def _error(entry: dict[str, Any]) -> Status:
    return Status[entry["error"]["data"]["code"]] if "error" in entry else Status.OK


async def _by_json_rpc(asked: Asked, http: Http = _http) -> Status:
    found = await _json_rpc(asked, _entry(asked, id=1), http)
    return found if isinstance(found, Status) else _error(found.value)


async def _by_batch(asked: Asked, http: Http = _http) -> Status:
    entries = [_entry(asked, id=1), _entry(asked), _entry(asked, id=2, params=[])]
    found = await _json_rpc(asked, entries, http)
    if isinstance(found, Status):
        return found
    first, second = (_error(entry) for entry in found.value)
    assert first == second
    return first


async def _by_notification(asked: Asked, http: Http = _http) -> Status | None:
    found = await _json_rpc(asked, _entry(asked), http)
    return found if isinstance(found, Status) else None


async def _by_tool(asked: Asked, http: Http = _http) -> Status | None:
    name = asked.method.replace(".", "_")
    parameters = {"name": name, "arguments": {}, "_meta": MCP_META}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}
    fields = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": name}
    response = await http(asked, "POST", "/mcp", body, **fields)
    if response.status == 401:
        return Status.UNAUTHENTICATED
    # A caller that may not call a tool does not learn that it exists; a failure is a text for the model.
    return None if "error" in response.value or response.value["result"]["isError"] else Status.OK


async def _by_fields_of_rpcx(asked: Asked, http: Http = _http) -> Status:
    fields = {"X_RPCX_ServicePath": asked.service, "X_RPCX_ServiceMethod": asked.name}
    response = await http(asked, "POST", "/", {}, X_RPCX_SerializeType="1", **fields)
    if "x-rpcx-messagestatustype" not in response:
        return Status.OK
    return _REFUSALS.get(response.status, Status.INTERNAL)


async def _by_fields_of_phobos(asked: Asked, http: Http = _http) -> Status | None:
    token = {} if asked.token is None else {"PHOBOS_Gateway_Meta": f"__AUTH={asked.token}"}
    given = {"ServiceMethod": asked.name, "SerializeType": "1", "MessageID": "7"}
    fields = {f"PHOBOS_Gateway_{name}": value for name, value in given.items()} | token
    response = await http(replace(asked, token=None), "POST", f"/{asked.service}", b"{}", **fields)
    # A failure is a field and a text.
    return None if "phobos-gateway-messagestatustype" in response else Status.OK


@asynccontextmanager
async def _socket(asked: Asked) -> AsyncIterator[SocketClient]:
    options: dict[str, Any] = {} if asked.tls is None else {"ssl": asked.tls, "server_hostname": "127.0.0.1"}
    async with await HttpClient.to(asked.address, **options) as client:
        if asked.pauses:
            await client.get("/")
        yield SocketClient(client)


@asynccontextmanager
async def _socket2(asked: Asked) -> AsyncIterator[SocketClient]:
    async with http2_client(asked.address, tls=asked.h2) as client:
        yield Http2SocketClient(client)


async def _in_socket(
    asked: Asked, path: str, message: Any, last: str, connect: Connect
) -> dict[str, Any] | Status:
    """Return the first answer that is an error or the last one to a message, or the status of a refused handshake."""
    async with connect(asked) as socket:
        if asked.pauses:
            await asyncio.sleep(asked.pauses)
        answer = await socket.open(path, **asked.fields)
        if answer.status not in (101, 200):
            return Status[answer.value["code"]]
        socket.send(message)
        frame = await socket.frame()
        if frame.opcode == CLOSE:
            # The credential of the connection expired meanwhile.
            assert frame.code == 1008
            return Status.UNAUTHENTICATED
        found: dict[str, Any] = json.loads(frame.content)
        while "error" not in found and last not in found:
            found = json.loads((await socket.frame()).content)
        return found


async def _by_socket(asked: Asked, connect: Connect = _socket) -> Status:
    found = await _in_socket(asked, f"/ws{asked.path}", {}, "end", connect)
    if isinstance(found, Status):
        return found
    return Status[found["error"]["code"]] if "error" in found else Status.OK


async def _by_json_rpc_in_a_socket(asked: Asked, connect: Connect = _socket) -> Status:
    found = await _in_socket(asked, "/jsonrpc", _entry(asked, id=1), "result", connect)
    return found if isinstance(found, Status) else _error(found)


async def _by_grpc(asked: Asked) -> Status | None:
    fields = [] if asked.token is None else [("authorization", asked.token.encode("latin-1"))]
    async with grpc_peer(asked.address, tls=asked.h2) as peer:
        if asked.pauses:
            await asyncio.sleep(asked.pauses)
        data = b"" if asked.kind in {"client_stream", "both_ways"} else message(b"")
        streams = [peer.open(asked.path, fields) for _ in range(2)]
        # One in a piece, and one whose message is incomplete for a while.
        peer.send(streams[0], data, ends=True)
        peer.send(streams[1], data[:3])
        answer = await peer.end(streams[0])
        if answer.status != Status.OK:
            late = peer.answers[streams[1]]
            if not late.is_over:
                peer.send(streams[1], data[3:], ends=True)
            assert (await peer.end(streams[1])).status == answer.status
    return None if answer.status is None else Status(answer.status)


def _request_of(asked: Asked, message: bytes) -> bytes:
    """Return the body of a call by a stream of messages."""
    return b"" if asked.kind in {"client_stream", "both_ways"} else enveloped(message)


async def _by_grpc_web(asked: Asked, http: Http = _http) -> Status | None:
    body = _request_of(asked, b"")
    response = await http(asked, "POST", asked.path, body, Content_Type="application/grpc-web+proto")
    if response.status == 505:
        # It streams both ways, which a caller without the right does not learn.
        return None
    return Status(int(trailers_of(response.body)["grpc-status"]))


def _by_code(error: dict[str, Any]) -> Status:
    # Connect's spelling of one code has one letter less.
    return Status[error["code"].upper().replace("CANCELED", "CANCELLED")]


async def _by_connect(asked: Asked, http: Http = _http) -> Status | None:
    if asked.kind == "unary":
        response = await http(asked, "POST", asked.path, {}, **CONNECT)
        return Status.OK if response.status == 200 else _by_code(response.value)
    body = _request_of(asked, b"{}")
    response = await http(asked, "POST", asked.path, body, Content_Type="application/connect+json")
    error = {} if response.status == 505 else cut(response)[1].get("error")
    if error is None:
        return Status.OK
    return _by_code(error) if error else None


async def _by_connect_get(asked: Asked, http: Http = _http) -> Status:
    target = f"{asked.path}?connect=v1&encoding=json&message=%7B%7D"
    response = await http(asked, "GET", target)
    return Status.OK if response.status == 200 else _by_code(response.value)


#: The ways of the gateway: their settings, and how they call.
_PAGES: dict[str, tuple[str, Callable[..., Awaitable[Status | None]]]] = {
    "JSON": ("json", _by_json),
    "msgpack": ("json", _by_msgpack),
    "lines": ("json", _by_lines),
    "events": ("json", _by_events),
    "GET": ("json", _by_get),
    "HEAD": ("json", _by_head),
    "JSON-RPC": ("jsonrpc", _by_json_rpc),
    "a batch of JSON-RPC": ("jsonrpc", _by_batch),
    "a notification of JSON-RPC": ("jsonrpc", _by_notification),
    "MCP": ("mcp", _by_tool),
    "the header gateway of rpcx": ("rpcx", _by_fields_of_rpcx),
    "the header gateway of Phobos": ("phobos", _by_fields_of_phobos),
}
_SOCKETS: dict[str, Callable[..., Awaitable[Status | None]]] = {
    "WebSocket": _by_socket,
    "JSON-RPC by WebSocket": _by_json_rpc_in_a_socket,
}
_WEB: dict[str, tuple[str, Callable[..., Awaitable[Status | None]]]] = {
    "gRPC-Web": ("grpc_web", _by_grpc_web),
    "Connect": ("connect", _by_connect),
    "GET by Connect": ("connect", _by_connect_get),
}

_HTTP2 = " over HTTP/2"
#: The setting of ways that are on by default.
_ON = {"json": "http2"}

WAYS = {
    "rpcx": Way("rpcx", None, _by_rpcx, "rpcx"),
    "phobos": Way("phobos", None, _by_phobos, "phobos"),
    **{name: Way("http", setting, ask, name) for name, (setting, ask) in (_PAGES | _WEB).items()},
    **{name: Way("http", "websocket", ask, name) for name, ask in _SOCKETS.items()},
    "gRPC": Way("grpc", None, _by_grpc, "gRPC"),
    **{
        f"{name}{_HTTP2}": Way("grpc", setting, partial(ask, http=_http2), name)
        for name, (setting, ask) in _WEB.items()
    },
    **{
        f"{name}{_HTTP2}": Way("http", _ON.get(setting, setting), partial(ask, http=_http2), name)
        for name, (setting, ask) in _PAGES.items()
    },
    **{
        f"{name}{_HTTP2}": Way("http", "websocket", partial(ask, connect=_socket2), name)
        for name, ask in _SOCKETS.items()
    },
}

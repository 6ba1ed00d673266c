"""A text with one sign beyond U+FFFF takes four bytes for each letter, and counts so, with any protocol and codec."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

import fastrpc
from fastrpc import HTTP, Address, CallError, Client, ClientConfig, Server, ServerConfig
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.http_talk import HttpClient, request
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually
from tests.support.ways_in import MCP_META
from tests.support.web_talk import CONNECT

pytestmark = pytest.mark.one_loop

LETTERS = 100_000
WIDE = "x" * LETTERS + "\U0001f600"
#: The same for a sign that has two bytes.
HALF = "x" * LETTERS + "\u20ac"


class Note(msgspec.Struct):
    text: str


@fastrpc.service("keep")
class Keep:
    """Handlers that wait with a text."""

    def __init__(self) -> None:
        self.kept = 0
        self.go_on = asyncio.Event()

    async def _keep(self, text: str) -> int:
        self.kept += len(text)
        await self.go_on.wait()
        return len(text)

    @fastrpc.method(tool=True)
    async def text(self, text: str) -> int:
        return await self._keep(text)

    @fastrpc.method
    async def in_a_struct(self, note: Note) -> int:
        return await self._keep(note.text)

    @fastrpc.method
    async def in_any(self, value: Any) -> int:
        return await self._keep(value["text"])

    @fastrpc.method
    async def all(self, texts: AsyncIterator[str]) -> int:
        return sum([await self._keep(text) async for text in texts])


Ask = Callable[[Address, str], Coroutine[Any, Any, None]]


async def call(
    address: Address, method: Any, value: Any, *, codec: str = "msgpack", wire: str = "native"
) -> None:
    async with Client(str(address), config=ClientConfig(codec=codec, wire_protocol=wire)) as client:
        with suppress(CallError):
            await client.call(method, value)


async def stream(address: Address, text: str, wire: str = "native") -> None:
    async with Client(str(address), config=ClientConfig(wire_protocol=wire)) as client:
        with suppress(CallError):
            async with client.open(Keep.all) as texts:
                await texts.send(text)
                await texts.end()
                await texts.receive()


async def post(address: Address, path: str, body: Any, **fields: str) -> None:
    async with await HttpClient.to(address) as client:
        client.send(request("POST", path, body, **fields))
        await client.response()


async def by_tool(address: Address, text: str) -> None:
    parameters = {"name": "keep_text", "arguments": {"text": text}, "_meta": MCP_META}
    fields = {"MCP_Protocol_Version": "2026-07-28", "Mcp_Method": "tools/call", "Mcp_Name": "keep_text"}
    await post(
        address, "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters}, **fields
    )


async def by_lines(address: Address, text: str) -> None:
    told: list[dict[str, Any]] = [{"arguments": {}}, {"value": text}, {"end": True}]
    lines = b"".join(json.dumps(line).encode() + b"\n" for line in told)
    await post(address, "/keep/all", lines, Content_Type="application/x-ndjson")


async def by_socket(address: Address, text: str) -> None:
    async with await HttpClient.to(address) as client:
        socket = SocketClient(client)
        await socket.open("/ws/keep/all")
        socket.send({}, {"value": text}, {"end": True})
        await socket.rest()


def written(text: str) -> bytes:
    """Return the arguments in JSON without escapes."""
    return json.dumps({"text": text}, ensure_ascii=False).encode()


WAYS: dict[str, Ask] = {
    "native": lambda address, text: call(address, Keep.text, text),
    "native, JSON": lambda address, text: call(address, Keep.text, text, codec="json"),
    "native, a struct": lambda address, text: call(address, Keep.in_a_struct, Note(text)),
    "native, any value": lambda address, text: call(address, Keep.in_any, {"text": text}),
    "a stream": stream,
    "gRPC": lambda address, text: call(address, Keep.in_a_struct, Note(text), wire="grpc"),
    "gRPC, a stream": lambda address, text: stream(address, text, "grpc"),
    "rpcx": lambda address, text: call(address, Keep.text, text, wire="rpcx"),
    "JSON": lambda address, text: post(address, "/keep/text", written(text)),
    "JSON, escaped": lambda address, text: post(address, "/keep/text", {"text": text}),
    "msgpack": lambda address, text: post(
        address, "/keep/text", msgspec.msgpack.encode({"text": text}), Content_Type="application/msgpack"
    ),
    "JSON-RPC": lambda address, text: post(
        address, "/jsonrpc", {"jsonrpc": "2.0", "id": 1, "method": "keep.text", "params": [text]}
    ),
    "MCP": by_tool,
    "Connect": lambda address, text: post(address, "/keep/text", {"text": text}, **CONNECT),
    "lines": by_lines,
    "WebSocket": by_socket,
}


@asynccontextmanager
async def asked(way: str, text: str) -> AsyncIterator[None]:
    """Call by a way, and yield once the handler has the text."""
    keep = Keep()
    config = ServerConfig(
        protocols=("native", "grpc", "http", "rpcx"),
        http=HTTP(jsonrpc=True, websocket=True, mcp=True, connect=True),
    )
    async with Server(keep, config=config) as server:
        asking = asyncio.create_task(WAYS[way](await server.listen("tcp://127.0.0.1:0"), text))
        try:
            await eventually(lambda: keep.kept or asking.done())
            assert keep.kept == len(text)
            yield
        finally:
            keep.go_on.set()
        await asking
        await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_text_counts_by_its_size_in_memory(way: str) -> None:
    async with asked(way, WIDE):
        assert 4 * LETTERS <= bytes_held() < 5 * LETTERS
    async with asked(way, HALF):
        assert 2 * LETTERS <= bytes_held() < 3 * LETTERS
    async with asked(way, WIDE[:LETTERS]):
        assert LETTERS <= bytes_held() < 2 * LETTERS

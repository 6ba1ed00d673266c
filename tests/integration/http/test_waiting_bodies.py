"""A body is freed once its calls have begun: the bytes that the calls need count separately."""

import asyncio
import json
import tracemalloc

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from tests.support.http_talk import HttpClient
from tests.support.socket_client import SocketClient
from tests.support.socket_frames import TEXT, client_frame
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

SIZE = 4_000_000


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.started = 0
        self.may_end = asyncio.Event()

    @fastrpc.method(tool=True)
    async def wait(self) -> str:
        self.started += 1
        await self.may_end.wait()
        return "waited"


CALL = {"jsonrpc": "2.0", "method": "shop.wait", "id": 1}
TOOL_CALL = {"jsonrpc": "2.0", "method": "tools/call", "id": 1, "params": {"name": "shop_wait"}}

BODIES = {
    "a call of JSON-RPC": ("/jsonrpc", json.dumps(CALL)),
    "a batch of JSON-RPC": ("/jsonrpc", json.dumps([CALL])),
    "a call of a tool": ("/mcp", json.dumps(TOOL_CALL)),
}


def serving(shop: Shop) -> Server:
    http = HTTP(jsonrpc=True, mcp=True, websocket=True)
    return Server(shop, config=ServerConfig(protocols=("http",), http=http))


@pytest.mark.parametrize("name", BODIES)
async def test_a_call_that_waits_does_not_hold_its_body(name: str) -> None:
    shop = Shop()
    path, text = BODIES[name]
    # White space within the entry, so that it belongs to each copy of it.
    body = text.replace("{", "{" + " " * SIZE, 1).encode()
    async with (
        serving(shop) as server,
        await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client,
    ):
        tracemalloc.start()
        try:
            asked = asyncio.ensure_future(client.post(path, body))
            await eventually(lambda: shop.started == 1)
            held = sum(one.size for one in tracemalloc.take_snapshot().traces if one.size >= SIZE)
        finally:
            tracemalloc.stop()
            shop.may_end.set()
        assert "waited" in str((await asked).value)
        assert held < SIZE


async def test_a_call_that_waits_does_not_hold_its_message() -> None:
    shop = Shop()
    message = json.dumps(CALL).replace("{", "{" + " " * SIZE, 1).encode()
    async with (
        serving(shop) as server,
        await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client,
    ):
        socket = SocketClient(client)
        assert (await socket.open("/jsonrpc")).status == 101
        tracemalloc.start()
        try:
            socket.http.send(client_frame(TEXT, message))
            await eventually(lambda: shop.started == 1)
            held = sum(one.size for one in tracemalloc.take_snapshot().traces if one.size >= SIZE)
        finally:
            tracemalloc.stop()
            shop.may_end.set()
        assert (await socket.receive())["result"] == "waited"
        assert held < SIZE

"""The ends of requests and calls that a development server reports: each once, over every protocol."""

import asyncio
import io
import logging
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, CallError, Client, ServerConfig, Status, Timeouts
from fastrpc.cli.serving.request_lines import print_ended
from fastrpc.interceptors import AccessLog
from fastrpc.server.watching import Ended
from tests.support.access_records import ended, kept_records
from tests.support.http2_client import http2_client
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import answering
from tests.support.socket_client import SocketClient
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("shop")
class Shop:
    def __init__(self) -> None:
        self.begun = asyncio.Event()

    @fastrpc.method(safe=True, tool=True)
    async def price(self, item: str) -> int:
        return len(item)

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.NOT_FOUND, "no such thing")

    @fastrpc.method
    async def wait(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    @fastrpc.method(safe=True)
    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number


async def failing(scope: Any, receive: Any, send: Any) -> None:
    """An application that fails in the middle of its response."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"a", "more_body": True})
    raise ValueError("lost")


class Serving:
    def __init__(self, server: fastrpc.Server, shop: Shop, told: list[Ended], address: Any) -> None:
        self.server, self.shop, self.told, self.address = server, shop, told, address

    def taken(self) -> list[tuple[str, str]]:
        """Return the reports since the last look, each with its status."""
        found, self.told[:] = list(self.told), []
        assert all(one.seconds >= 0 for one in found)
        assert all(one.is_error == (one.status not in OK) for one in found if not one.reason)
        return [(one.what, one.status) for one in found]


OK = {"200 OK", "101 Switching Protocols", "OK", "204 No Content"}


@asynccontextmanager
async def serving(*protocols: str, interceptors: Any = (), **options: Any) -> AsyncIterator[Serving]:
    shop, told = Shop(), list[Ended]()
    http = HTTP(
        jsonrpc=True,
        mcp=True,
        websocket=True,
        docs=True,
        connect=True,
        mounts={"/app": answering(b"app"), "/failing": failing},
    )
    config = ServerConfig(
        protocols=protocols or ("native", "http"), http=http, timeouts=Timeouts(drain=1.0), **options
    )
    server = fastrpc.Server(shop, config=config, interceptors=interceptors)
    server.tell_ends(told.append)
    async with server:
        yield Serving(server, shop, told, await server.listen("tcp://127.0.0.1:0"))


async def test_each_request_of_http_is_one_line() -> None:
    async with serving() as target, await HttpClient.to(target.address) as client:
        for verb, path, status in (
            ("GET", "/shop/price?item=tea", "200 OK"),
            ("HEAD", "/shop/price?item=tea", "200 OK"),
            ("POST", "/shop/fail", "404 Not Found"),
            ("POST", "/shop/none", "404 Not Found"),
            ("GET", "/shop/fail", "405 Method Not Allowed"),
            ("GET", "/openapi.json", "200 OK"),
            ("GET", "/app/a%0Ab", "200 OK"),
            ("GET", "/shop/count?to=3", "200 OK"),
        ):
            await client.ask(verb, path, {} if verb == "POST" else b"", Accept="text/event-stream")
            assert target.taken() == [(f"{verb} {path}", status)]
        await client.get("/shop/price?item=tea", Host="evil.example")
        assert target.taken() == [("GET /shop/price?item=tea", "421 Misdirected Request")]
        # Several requests in one write are reported in their order.
        client.send(
            request("GET", "/app/1") + request("GET", "/shop/price?item=a") + request("GET", "/app/2")
        )
        for _ in range(3):
            await client.response()
        assert [what for what, _ in target.taken()] == ["GET /app/1", "GET /shop/price?item=a", "GET /app/2"]
        client.send(b"GET\r\n\r\n")
        assert (await client.response()).status == 400
        assert target.taken() == [("-", "400 Bad Request")]


async def test_a_request_whose_client_leaves_is_reported_as_cut_off() -> None:
    async with serving() as target:
        async with await HttpClient.to(target.address) as client:
            client.send(request("POST", "/shop/wait", {}))
            await target.shop.begun.wait()
        await eventually(lambda: target.told)
        assert target.told[0][:3] == ("POST /shop/wait", "499 Client Closed Request", True)
        assert target.told[0].reason == "cut off"
        target.taken()
        async with await HttpClient.to(target.address) as client:
            await client.get("/app/whole")
        assert target.taken() == [("GET /app/whole", "200 OK")]


async def test_a_response_that_is_cut_off_is_reported_as_cut_off() -> None:
    async with serving() as target, await HttpClient.to(target.address) as client:
        client.send(request("GET", "/failing"))
        await client.reader.read()
        await eventually(lambda: target.told)
        assert target.told == [Ended("GET /failing", "200 OK", True, target.told[0].seconds, "cut off")]


async def test_a_websocket_is_told_at_its_opening_and_each_call_at_its_end() -> None:
    async with serving() as target:
        async with await HttpClient.to(target.address) as client:
            socket = SocketClient(client)
            assert (await socket.open("/ws/shop/price")).status == 101
            assert target.taken() == [("GET /ws/shop/price", "101 Switching Protocols")]
            client.send(_text(b'{"arguments": {"item": "tea"}}'))
            await eventually(lambda: target.told)
            assert target.taken() == [("websocket shop.price", "OK")]
        async with await HttpClient.to(target.address) as client:
            assert (await SocketClient(client).open("/ws/shop/none")).status == 404
            assert target.taken() == [("GET /ws/shop/none", "404 Not Found")]
        async with await HttpClient.to(target.address) as client:
            assert (await SocketClient(client).open("/failing/talk")).status == 101
            await eventually(lambda: len(target.told) == 2)
            assert target.taken() == [
                ("GET /failing/talk", "101 Switching Protocols"),
                ("websocket /failing", "OK"),
            ]


def _text(content: bytes) -> bytes:
    from tests.support.socket_frames import TEXT, client_frame

    return client_frame(TEXT, content)


async def test_each_call_by_json_rpc_and_of_a_tool_is_one_line() -> None:
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "shop.price", "params": {"item": "tea"}},
        {"jsonrpc": "2.0", "id": 2, "method": "shop.fail"},
        {"jsonrpc": "2.0", "id": 3, "method": "shop.none"},
    ]
    tool = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "shop_price", "arguments": {"item": "tea"}},
    }
    async with serving() as target, await HttpClient.to(target.address) as client:
        await client.post("/jsonrpc", batch)
        assert sorted(target.taken()) == [
            ("POST /jsonrpc", "200 OK"),
            ("jsonrpc ?", "UNIMPLEMENTED"),
            ("jsonrpc shop.fail", "NOT_FOUND"),
            ("jsonrpc shop.price", "OK"),
        ]
        await client.post("/mcp", tool, MCP_Protocol_Version="2025-11-25")
        assert target.taken() == [("mcp shop.price", "OK"), ("POST /mcp", "200 OK")]


async def test_each_native_call_is_one_line() -> None:
    async with serving() as target, Client(str(target.address)) as client:
        assert await client.call("shop.price", "tea") == 3
        assert [one async for one in client.stream("shop.count", 2)] == [0, 1]
        for method in ("shop.fail", "shop.none"):
            with pytest.raises(CallError):
                await client.call(method)
        await eventually(lambda: len(target.told) == 4)
        assert target.told[3].reason.startswith("no method 'shop.none' here")
        assert target.taken() == [
            ("native shop.price", "OK"),
            ("native shop.count", "OK"),
            ("native shop.fail", "NOT_FOUND"),
            ("native ?", "UNIMPLEMENTED"),
        ]
        await client.notify("shop.price", "tea")
        await eventually(lambda: target.told)
        assert target.taken() == [("native shop.price", "OK")]
        waiting = asyncio.ensure_future(client.call("shop.wait"))
        await target.shop.begun.wait()
        waiting.cancel()
        await eventually(lambda: target.told)
        assert target.taken() == [("native shop.wait", "CANCELLED")]


async def test_each_call_by_grpc_and_by_connect_over_http_2_is_one_line() -> None:
    async with serving("native", "grpc", "http") as target:
        async with Client(str(target.address).replace("tcp:", "grpc:")) as client:
            assert await client.call(Shop.price, "tea") == 3
            with pytest.raises(CallError):
                await client.call(Shop.fail)
        await eventually(lambda: len(target.told) == 2)
        assert target.taken() == [("grpc shop.price", "OK"), ("grpc shop.fail", "NOT_FOUND")]
        async with http2_client(target.address) as second:
            assert (
                await second.post("/shop/price", {"item": "tea"}, Connect_Protocol_Version="1")
            ).status == 200
        assert target.taken() == [("connect shop.price", "OK")]
        async with await HttpClient.to(target.address) as first:
            assert (
                await first.post("/shop/price", {"item": "tea"}, Connect_Protocol_Version="1")
            ).status == 200
        assert target.taken() == [("POST /shop/price", "200 OK")]


async def test_the_access_log_of_the_program_has_its_records_all_the_same() -> None:
    for records in kept_records():
        async with serving(interceptors=[AccessLog()]) as target:
            async with Client(str(target.address)) as client, await HttpClient.to(target.address) as http:
                assert await client.call("shop.price", "tea") == 3
                await http.get("/app/a")
            found = await ended(records, 2)
            assert [(one.service, one.method, one.status) for one in found] == [
                ("shop", "shop.price", "OK"),
                ("_mount", "_mount./app", "OK"),
            ]
            assert len(target.taken()) == 2


async def test_an_error_of_the_teller_is_logged_and_harms_no_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tell(ended: Ended) -> None:
        raise BrokenPipeError("gone")

    async with serving() as target:
        target.server._served.watch._told = tell
        async with await HttpClient.to(target.address) as client:
            assert (await client.get("/app/a")).status == 200
            assert (await client.get("/shop/price?item=a")).status == 200
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in told] == [
        "the end of GET /app/a could not be reported",
        "the end of GET /shop/price?item=a could not be reported",
    ]


@pytest.mark.parametrize("text", ["GET /a\nb", "native \x1b[31mshop.\u202eprice", "GET /\r\x85\u2028x"])
def test_a_line_stays_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stdout", output)
    print_ended(Ended(text, "200 OK", False, 0.0123, "why\nnot"))
    print_ended(Ended("GET /a", "200 OK", False, 0.0123))
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert "\x1b" not in lines[0]
    assert "\u202e" not in lines[0]
    assert lines[0].endswith(r" 200 OK 12.3 ms  why\nnot")
    assert re.fullmatch(r"\d\d:\d\d:\d\d GET /a 200 OK 12\.3 ms", lines[1])

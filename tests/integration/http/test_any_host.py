"""A server that takes requests to any host: pages under foreign names call no method (DNS rebinding)."""

import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from tests.support.http2_client import http2_client
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import answering, mounted

pytestmark = pytest.mark.one_loop

NOTE = "/shop.v1/note"


@fastrpc.service("shop.v1")
class Shop:
    """Keeps its received calls."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    @fastrpc.method
    async def note(self, text: str) -> None:
        self.noted.append(text)

    @fastrpc.method(safe=True, tool=True, http="GET /found/{text}")
    async def find(self, text: str) -> str:
        self.noted.append(text)
        return text

    @fastrpc.method(safe=True)
    async def follow(self, text: str) -> AsyncIterator[str]:
        self.noted.append(text)
        yield text

    @fastrpc.method
    async def keep(self, text: str, data: fastrpc.Upload) -> None:
        self.noted.append(text)

    @fastrpc.method
    async def take(self, texts: AsyncIterator[str]) -> None:
        async for text in texts:
            self.noted.append(text)


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
EVENTS = {"Accept": "text/event-stream"}
FORM = (
    b'--x\r\nContent-Disposition: form-data; name="text"\r\n\r\na\r\n'
    b'--x\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\na\r\n--x--\r\n'
)


def enveloped(message: Any) -> bytes:
    """Return a message after its flags and its length."""
    content = json.dumps(message).encode()
    return bytes(1) + len(content).to_bytes(4, "big") + content


#: Each way to a method: verb, path, body, fields.
WAYS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "method": ("POST", NOTE, {"text": "a"}, {}),
    "safe method": ("GET", "/shop.v1/find?text=a", b"", {}),
    "json-rpc": (
        "POST",
        "/jsonrpc",
        {"jsonrpc": "2.0", "id": 1, "method": "shop.v1.note", "params": ["a"]},
        {},
    ),
    "tool": ("POST", "/mcp", {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, {}),
    "route": ("GET", "/found/a", b"", {}),
    "msgpack": ("POST", NOTE, b"\x81\xa4text\xa1a", {"Content_Type": "application/msgpack"}),
    "events": ("GET", "/shop.v1/follow?text=a", b"", EVENTS),
    "events of a post": ("POST", "/shop.v1/follow", {"text": "a"}, EVENTS),
    "lines": ("POST", "/shop.v1/take", b'{"value":"a"}\n', {"Content_Type": "application/x-ndjson"}),
    "form": ("POST", "/shop.v1/keep", FORM, {"Content_Type": "multipart/form-data; boundary=x"}),
    "rpcx headers": (
        "POST",
        "/shop.v1",
        b'{"text":"a"}',
        {"X_RPCX_ServiceMethod": "note", "X_RPCX_SerializeType": "1"},
    ),
    "connect": ("POST", NOTE, {"text": "a"}, {"Connect_Protocol_Version": "1"}),
    "connect by get": (
        "GET",
        "/shop.v1/find?connect=v1&encoding=json&message=%7B%22text%22%3A%22a%22%7D",
        b"",
        {},
    ),
    "connect stream": (
        "POST",
        "/shop.v1/follow",
        enveloped({"text": "a"}),
        {"Content_Type": "application/connect+json"},
    ),
    "grpc-web": ("POST", NOTE, enveloped({"text": "a"}), {"Content_Type": "application/grpc-web+json"}),
    "websocket": ("GET", "/ws/shop.v1/note", b"", HANDSHAKE),
    "json-rpc by websocket": ("GET", "/jsonrpc", b"", HANDSHAKE),
    "document": ("GET", "/openapi.json", b"", {}),
}
#: Fields that a browser adds for a page under a foreign name that leads here.
PAGES = (
    {"Origin": "http://evil.example"},
    {"Origin": "http://evil.example", "Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Site": "same-origin"},
    {"Sec_Fetch_Site": "none"},
    {"Origin": "null"},
)


@contextlib.asynccontextmanager
async def serving(*hosts: str, cors_origins: tuple[str, ...] = ()) -> AsyncIterator[tuple[HttpClient, Shop]]:
    http = HTTP(
        allowed_hosts=hosts,
        cors_origins=cors_origins,
        jsonrpc=True,
        mcp=True,
        websocket=True,
        connect=True,
        grpc_web=True,
        rpcx=True,
        docs=True,
    )
    shop = Shop()
    async with Server(shop, config=ServerConfig(protocols=("http",), http=http)) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client, shop


@pytest.mark.parametrize("way", WAYS)
async def test_pages_under_a_foreign_name_call_nothing(way: str) -> None:
    verb, path, body, fields = WAYS[way]
    async with serving("*") as (client, shop):
        for page in PAGES:
            answer = await client.ask(verb, path, body, Host="evil.example", **fields, **page)
            assert answer.status == 403, page
            assert b"allowed_hosts" in answer.body
            assert shop.noted == []


#: The ways that HTTP/2 has as well.
BY_HTTP_2 = [way for way in WAYS if way.startswith(("connect", "grpc-web"))]


@pytest.mark.parametrize("way", BY_HTTP_2)
async def test_pages_under_a_foreign_name_call_nothing_by_http_2(way: str) -> None:
    verb, path, body, fields = WAYS[way]
    shop = Shop()
    http = HTTP(allowed_hosts=("*",), connect=True, grpc_web=True)
    async with Server(shop, config=ServerConfig(protocols=("grpc",), http=http)) as server:
        async with http2_client(await server.listen("tcp://127.0.0.1:0")) as client:
            for page in PAGES:
                answer = await client.ask(verb, path, body, Host="evil.example", **fields, **page)
                assert answer.status == 403, page
                assert shop.noted == []
            assert (await client.ask(verb, path, body, Host="any.example", **fields)).status == 200
            assert shop.noted == ["a"]


@pytest.mark.parametrize("path", [NOTE, "/jsonrpc", "/mcp", "/found/a"])
async def test_a_preflight_under_a_foreign_name_allows_nothing(path: str) -> None:
    fields = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "content-type"}
    async with serving("*") as (client, _):
        for page in PAGES:
            answer = await client.ask("OPTIONS", path, Host="evil.example", **fields, **page)
            assert answer.status == 403, page
            assert "access-control-allow-origin" not in answer


@pytest.mark.parametrize("way", WAYS)
async def test_programs_call_by_any_host(way: str) -> None:
    verb, path, body, fields = WAYS[way]
    async with serving("*") as (client, _):
        client.send(request(verb, path, body, Host="anything.example", **fields))
        assert (await client.head()).status in (101, 200)


async def test_pages_under_listed_names_addresses_and_origins_call() -> None:
    async with serving("*", "*.shop.example", cors_origins=("https://front.example",)) as (client, _):
        for host, origin in (
            ("a.shop.example", "http://a.shop.example"),
            ("localhost", "http://localhost"),
            ("127.0.0.1:80", "http://127.0.0.1:80"),
            ("anything.example", "https://front.example"),
        ):
            answer = await client.post(NOTE, {"text": "a"}, Host=host, Origin=origin)
            assert answer.status == 200, host
        foreign = {"Host": "a.shop.example", "Origin": "https://evil.example"}
        assert (await client.post(NOTE, {"text": "a"}, **foreign)).status == 403


async def test_subdomains_are_taken_by_a_pattern() -> None:
    async with serving("*.shop.example") as (client, _):
        for host, status in (("a.b.shop.example", 200), ("shop.example", 421), ("evilshop.example", 421)):
            assert (await client.post(NOTE, {"text": "a"}, Host=host)).status == status


async def test_a_refused_host_is_named() -> None:
    async with serving() as (client, _):
        answer = await client.post(NOTE, {"text": "a"}, Host="evil.example:80")
        assert answer.status == 421
        assert "'evil.example:80'" in answer.value["detail"]
        assert "HTTP.allowed_hosts" in answer.value["detail"]


async def test_applications_take_pages_of_any_host() -> None:
    async with mounted(answering(b"app"), http={"allowed_hosts": ("*",)}) as client:
        for page in PAGES:
            answer = await client.get("/", Host="evil.example", **page)
            assert (answer.status, answer.body) == (200, b"app")


async def test_a_warning_tells_of_any_host(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "fastrpc.server"):
        async with serving("*"):
            pass
    assert [record for record in caplog.records if "HTTP.allowed_hosts has '*'" in record.getMessage()]

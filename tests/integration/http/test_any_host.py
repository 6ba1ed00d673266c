"""A server that takes requests to any host: pages under foreign names call no method (DNS rebinding)."""

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Server, ServerConfig
from tests.support.http_talk import HttpClient, request
from tests.support.mounted import answering, mounted

pytestmark = pytest.mark.one_loop

NOTE = "/shop.v1/note"


@fastrpc.service("shop.v1")
class Shop:
    """Keeps what reached it."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    @fastrpc.method
    async def note(self, text: str) -> None:
        self.noted.append(text)

    @fastrpc.method(safe=True, tool=True)
    async def find(self, text: str) -> str:
        self.noted.append(text)
        return text


HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
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
    "connect": ("POST", NOTE, {"text": "a"}, {"Connect_Protocol_Version": "1"}),
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

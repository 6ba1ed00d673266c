"""Only callers from Go reach bare functions: other protocols do not know them, and no list shows them."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, CallError, Client, ClientConfig, Server, ServerConfig, Status
from fastrpc.auth import Identity, StaticTokens
from tests.support.either_client import CLIENTS, connected, taken
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

EVERY = HTTP(jsonrpc=True, websocket=True, mcp=True, rpcx=True, phobos=True, docs=True)


@fastrpc.service("")
class Functions:
    def __init__(self) -> None:
        self.added = 0

    @fastrpc.method(idempotent=True, tool=True)
    async def add(self, args: dict[str, int]) -> int:
        """Add numbers."""
        self.added += 1
        return sum(args.values())

    @fastrpc.method
    async def rows(self) -> AsyncIterator[int]:
        self.added += 1
        yield 1


@fastrpc.service("shop")
class Shop:
    @fastrpc.method
    async def hello(self) -> str:
        return "hello"


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Functions, str]]:
    functions = Functions()
    config = ServerConfig(protocols=("native", "http", "rpcx", "phobos"), http=EVERY)
    async with Server(functions, Shop(), config=config, **options) as server:
        yield functions, str(await server.listen("tcp://127.0.0.1:0"))


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize("wire", ["rpcx", "phobos"])
async def test_a_caller_from_go_calls_a_bare_function(kind: str, wire: str) -> None:
    async with served() as (_, target):
        async with connected(kind, target, config=ClientConfig(wire_protocol=wire)) as client:
            assert await client.call(".add", {"a": 1, "b": 2}) == 3


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_bare_function_is_an_unknown_method_to_the_native_protocol(kind: str) -> None:
    async with served() as (functions, target), connected(kind, target) as client:
        told = []
        for name in (".add", ".nothing"):
            for size in (1, 300_000):
                with pytest.raises(CallError) as caught:
                    await client.call(name, {"a" * size: 1})
                assert caught.value.status is Status.UNIMPLEMENTED
                told.append(caught.value.message.replace(name, ""))
        assert len(set(told)) == 1
        assert "hello" in told[0]
        with pytest.raises(CallError) as caught:
            async with client.stream(".rows") as stream:
                await taken(stream)
        assert caught.value.status is Status.UNIMPLEMENTED
        assert functions.added == 0


async def test_a_bare_function_is_an_unknown_method_to_http() -> None:
    async with served() as (functions, target), await HttpClient.to(target) as client:
        answers = []
        for name in (".add", ".nothing"):
            body = {"jsonrpc": "2.0", "id": 1, "method": name, "params": [{"a": 1}]}
            answer = await client.ask("POST", "/jsonrpc", json.dumps(body).encode())
            answers.append(answer.body.replace(name.encode(), b""))
        assert answers[0] == answers[1]
        assert b"-32601" in answers[0]
        for path in ("/.add", "//add", "/%2eadd", "/add", "/./add"):
            assert (await client.ask("POST", path, b'{"args":{"a":1}}')).status == 404
        assert functions.added == 0


async def test_the_header_gateways_call_a_bare_function() -> None:
    async with served() as (_, target), await HttpClient.to(target) as client:
        fields = {"ServicePath": "", "ServiceMethod": "add", "SerializeType": "1", "MessageID": "7"}
        named = {f"PHOBOS-Gateway-{name}": value for name, value in fields.items()}
        assert (await client.ask("POST", "/", b'{"a":1,"b":2}', **named)).body == b"3"


async def test_no_list_shows_a_bare_function() -> None:
    async with served() as (_, target), Client(target) as client:
        described = await client.call("fastrpc.reflection.services")
        assert [one["name"] for one in described if not one["name"].startswith("fastrpc.")] == ["shop"]
        async with await HttpClient.to(target) as http:
            paths = json.loads((await http.ask("GET", "/openapi.json", b"")).body)["paths"]
            assert list(paths) == ["/shop/hello"]
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            fields = {"Accept": "application/json, text/event-stream"}
            answer = await http.ask("POST", "/mcp", json.dumps(body).encode(), **fields)
            assert json.loads(answer.body)["result"]["tools"] == []


async def test_a_caller_without_rights_learns_nothing_of_bare_functions() -> None:
    tokens = StaticTokens({"secret": Identity("gopher")})
    async with served(authenticate=tokens) as (_, target), Client(target) as client:
        for name in (".add", ".nothing"):
            with pytest.raises(CallError) as caught:
                await client.call(name, {})
            assert caught.value.status is Status.UNAUTHENTICATED

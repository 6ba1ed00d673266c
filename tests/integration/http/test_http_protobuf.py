"""Methods whose payload is a protobuf message: HTTP does not carry them, and says so without a line in the log."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, Server, ServerConfig, SyncClient
from fastrpc.auth import Identity, StaticTokens
from tests.support.http_talk import HttpClient

Timestamp: Any = pytest.importorskip("google.protobuf.timestamp_pb2").Timestamp

pytestmark = pytest.mark.one_loop


@fastrpc.service("clock")
class Clock:
    @fastrpc.method(safe=True)
    async def later(self, at: Timestamp) -> Timestamp:
        return Timestamp(seconds=at.seconds + 1)

    @fastrpc.method
    async def start(self, at: Timestamp) -> None: ...

    @fastrpc.method
    async def ticks(self, at: Timestamp) -> AsyncIterator[Timestamp]:
        yield at

    @fastrpc.method
    async def last(self, at: AsyncIterator[Timestamp]) -> Timestamp:
        return [one async for one in at][-1]


@contextlib.asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[tuple[HttpClient, str]]:
    config = ServerConfig(protocols=("native", "http"), http=HTTP(jsonrpc=True, websocket=True))
    async with Server(Clock(), config=config, **options) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            yield client, str(address)


@pytest.mark.parametrize(
    ("verb", "path", "media"),
    [
        ("POST", "/clock/later", "application/json"),
        ("POST", "/clock/later", "application/msgpack"),
        ("POST", "/clock/later", "application/x-protobuf"),
        ("GET", "/clock/later", ""),
        ("GET", "/clock/later?at=x", ""),
        ("HEAD", "/clock/later", ""),
        ("POST", "/clock/start", "application/json"),
        ("POST", "/clock/ticks", "application/json"),
        ("POST", "/clock/last", "application/x-ndjson"),
    ],
)
async def test_a_request_is_refused_and_not_logged(
    verb: str, path: str, media: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving() as (client, _):
            fields = {"Content-Type": media} if media else {}
            answer = await client.ask(verb, path, b"{}" if media else b"", **fields)
            assert answer.status == 415
            if verb != "HEAD":
                method = path.partition("?")[0][1:].replace("/", ".")
                assert answer.value["detail"] == f"{method} travels by protobuf alone"
                assert answer.value["processed"] == "no"
    assert caplog.text == ""


async def test_json_rpc_refuses_it_as_well(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        async with serving() as (client, _):
            asked = {"jsonrpc": "2.0", "method": "clock.later", "params": {}, "id": 1}
            error = (await client.post("/jsonrpc", asked)).value["error"]
            assert error["message"] == "clock.later: it travels by protobuf alone"
    assert caplog.text == ""


async def test_callers_without_rights_do_not_learn_that_a_method_exists() -> None:
    tokens = StaticTokens({"token-of-ada": Identity("ada")})
    async with serving(authenticate=tokens) as (client, _):
        assert (await client.post("/clock/later", {})).status == 401


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_native_clients_call_it(kind: str) -> None:
    async with serving() as (_, address):
        if kind == "async":
            async with Client(address) as client:
                assert (await client.call(Clock.later, Timestamp(seconds=1))).seconds == 2
            return

        def ask() -> int:
            with SyncClient(address) as client:
                return int(client.call(Clock.later, Timestamp(seconds=1)).seconds)

        assert await asyncio.to_thread(ask) == 2


async def test_a_web_socket_is_refused_at_its_handshake() -> None:
    async with serving() as (client, _):
        answer = await client.ask(
            "GET",
            "/ws/clock/ticks",
            b"",
            **{
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Protocol": "fastrpc.json",
            },
        )
        assert (answer.status, answer.value["detail"]) == (415, "clock.ticks travels by protobuf alone")

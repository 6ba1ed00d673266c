"""Calls by WebSocket: a foreign client, who may call, how fast, and how it ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import fastrpc
from fastrpc import HTTP, Client, HTTPLimits, Identity, Keepalive, Limits, Server, ServerConfig, Timeouts
from fastrpc.auth import StaticTokens
from tests.support.access_table import Credentials
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, soon
from tests.support.socket_client import SocketClient, bearer, opened_socket
from tests.support.socket_frames import TEXT, client_frame
from tests.support.waiting import eventually

ENVELOPE = 'an envelope is {"arguments":{…},"timeout_ms":…,"metadata":{…}}, {"value":…} or {"end":true}'
TOKENS = {"ada-token": Identity("ada"), "bob-token": Identity("bob")}


def config(**options: Any) -> ServerConfig:
    http = options.pop("http", HTTP(websocket=True, jsonrpc=True))
    return ServerConfig(protocols=("native", "http"), http=http, **options)


@contextlib.asynccontextmanager
async def serving(*services: Any, **options: Any) -> AsyncIterator[tuple[Server, str]]:
    """Yield a server, and where its sockets are."""
    given = options.pop("config", None) or config()
    async with Server(*(services or (Shop(),)), config=given, **options) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield server, f"ws://{address.host}:{address.port}"


@contextlib.asynccontextmanager
async def opened(url: str, path: str, **options: Any) -> AsyncIterator[SocketClient]:
    """Yield a socket that a test reads frame by frame."""
    async with (
        await HttpClient.to(url.replace("ws:", "tcp:")) as http,
        opened_socket(http, path, **options) as socket,
    ):
        yield socket


async def test_a_foreign_client_calls_in_both_codecs() -> None:
    async with serving() as (_, url):
        async with connect(f"{url}/ws/shop.v1/echo") as socket:
            await socket.send('{"arguments": {"text": "a"}}')
            assert [json.loads(message) async for message in socket] == [
                {"value": "a"},
                {"end": {"metadata": {}}},
            ]
            assert (socket.close_code, socket.subprotocol) == (1000, None)
        packed: Any = ["fastrpc.msgpack"]
        async with connect(f"{url}/ws/shop.v1/blob", subprotocols=packed) as socket:
            await socket.send(msgspec.msgpack.encode({"arguments": {"data": b"\x00\xff"}}))
            assert msgspec.msgpack.decode(await socket.recv(decode=False)) == {"value": b"\xff\x00"}


async def test_a_foreign_client_streams_both_ways() -> None:
    async with serving() as (_, url), connect(f"{url}/ws/shop.v1/double") as socket:
        for value in (1, 2**60):
            await socket.send(json.dumps({"value": value}))
            assert json.loads(await socket.recv()) == {"value": 2 * value}
        await (await socket.ping())
        # In pieces.
        await socket.send(['{"end"', ":true}"])
        assert json.loads(await socket.recv()) == {"end": {"metadata": {}}}
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_a_long_message_comes_and_goes_whole() -> None:
    async with serving() as (_, url), connect(f"{url}/ws/shop.v1/echo", max_size=None) as socket:
        text = "ä" * 1_000_000
        await socket.send(json.dumps({"arguments": {"text": text}}, ensure_ascii=False))
        assert json.loads(await socket.recv()) == {"value": text}


async def slow_verdict(peer: Any) -> Identity | None:
    await asyncio.sleep(0)
    return TOKENS.get(peer.credentials or "")


@pytest.mark.parametrize("authenticate", [StaticTokens(TOKENS), slow_verdict], ids=["tokens", "function"])
async def test_a_token_comes_as_a_field_or_as_a_subprotocol(authenticate: Any) -> None:
    async def asked(socket: ClientConnection) -> Any:
        await socket.send("{}")
        return json.loads(await socket.recv())

    async with serving(authenticate=authenticate) as (_, url):
        path = f"{url}/ws/shop.v1/who"
        async with connect(path, additional_headers={"Authorization": "Bearer ada-token"}) as socket:
            assert await asked(socket) == {"value": "ada"}
        offered: Any = [bearer("bob-token"), "fastrpc.json"]
        async with connect(path, subprotocols=offered) as socket:
            assert socket.subprotocol == "fastrpc.json"
            assert await asked(socket) == {"value": "bob"}
        for token in (None, "wrong"):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            for missing in ("shop.v1/who", "shop.v1/none", "none"):
                with pytest.raises(InvalidStatus) as caught:
                    await connect(f"{url}/ws/{missing}", additional_headers=headers)
                assert caught.value.response.status_code == 401


@fastrpc.service("feed")
class Feed:
    def __init__(self) -> None:
        self.sent = 0
        self.taken = 0
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    @fastrpc.method
    async def blocks(self, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            self.sent += 1
            yield "x" * 100_000

    @fastrpc.method
    async def sizes(self, blocks: AsyncIterator[str]) -> int:
        self.started.set()
        await self.go.wait()
        async for block in blocks:
            self.taken += len(block)
        return self.taken

    @fastrpc.method
    async def waits(self) -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def test_a_slow_reader_holds_the_handler() -> None:
    feed = Feed()
    async with serving(feed) as (server, url), opened(url, "/ws/feed/blocks") as socket:
        socket.send({"arguments": {"count": 600}})
        # The server reads only as much as a reader buffers by itself: at last everything stands still.
        before = -1
        while before != feed.sent or not feed.sent:
            before = feed.sent
            for _ in range(2_000):
                await asyncio.sleep(0)
        assert feed.sent < 300
        (session,) = server._gate.engines
        assert session.connection.held_bytes < 4_000_000
        messages, code = await socket.rest()
        assert (len(messages), messages[-1], code) == (601, {"end": {"metadata": {}}}, 1000)


async def test_a_slow_handler_holds_its_peer() -> None:
    feed = Feed()
    async with serving(feed) as (server, url), opened(url, "/ws/feed/sizes") as socket:
        socket.send({})
        await soon(feed.started)
        socket.http.send(client_frame(TEXT, json.dumps({"value": "x" * 10_000}).encode()) * 1_000)
        for _ in range(3_000):
            await asyncio.sleep(0)
        (session,) = server._gate.engines
        assert session.connection.held_bytes < 1_000_000
        feed.go.set()
        socket.send({"end": True})
        assert await socket.rest() == ([{"value": 10_000_000}, {"end": {"metadata": {}}}], 1000)


@pytest.mark.parametrize("codec", ["json", "msgpack"])
@pytest.mark.parametrize(
    ("envelope", "text"),
    [
        ({"metadata": {"a": 1}}, "metadata is an object of texts"),
        ({"metadata": [{}] * 70_000}, "the metadata is over the limit of 8192 bytes (Limits.metadata_bytes)"),
        (
            {"metadata": {"a": "x" * 9_000}},
            "the metadata is over the limit of 8192 bytes (Limits.metadata_bytes)",
        ),
        ({"timeout_ms": True}, "timeout_ms must be a number from 0: Expected `int | float`, got `bool`"),
        (
            {"timeout_ms": {"a": 1}},
            "timeout_ms must be a number from 0: Expected `int | float`, got `object`",
        ),
        ({"timeout_ms": -1}, "timeout_ms is -1, it must be a number from 0"),
        ({"a": 1, "b": 2}, ENVELOPE),
        ({"value": 1, "arguments": {}}, ENVELOPE),
        ([], "an envelope must be one object, this message is not"),
    ],
)
async def test_an_envelope_of_another_form_is_refused_before_it_is_decoded(
    codec: str, envelope: Any, text: str
) -> None:
    """It is as long as a message may be, and comes before the guards."""
    protocols: Any = [f"fastrpc.{codec}"]
    module = msgspec.json if codec == "json" else msgspec.msgpack
    async with serving() as (_, url), connect(f"{url}/ws/shop.v1/echo", subprotocols=protocols) as socket:
        message = module.encode(envelope)
        await socket.send(message, text=codec == "json")
        answer = module.decode(await socket.recv(decode=False))
        assert answer["error"]["detail"] == f"shop.v1.echo: {text}"


async def test_expired_credentials_close_with_their_code() -> None:
    feed = Feed()
    async with serving(feed, authenticate=StaticTokens(TOKENS)) as (server, url):
        ada = {"Authorization": "Bearer ada-token"}
        async with opened(url, "/ws/feed/waits", **ada) as socket:
            socket.send({})
            assert await socket.receive() == {"value": 1}
            (session,) = server._gate.engines
            (call,) = session.connection.running
            server._gate.guards.access.expire_call(call)
            messages, code = await socket.rest()
            assert (messages[0]["error"]["code"], code) == ("UNAUTHENTICATED", 1008)
            await soon(feed.cancelled)


async def test_a_drain_ends_sockets_with_its_code() -> None:
    shop = Shop()
    async with serving(shop, config=config(timeouts=Timeouts(drain=20))) as (server, url):
        async with opened(url, "/jsonrpc") as idle, opened(url, "/ws/shop.v1/wait") as busy:
            busy.send({"timeout_ms": 300})
            idle.send({"jsonrpc": "2.0", "method": "shop.v1.echo", "params": ["a"], "id": 1})
            assert (await idle.receive())["result"] == "a"
            await soon(shop.started)
            draining = asyncio.ensure_future(server.drain())
            assert await idle.rest() == ([], 1012)
            messages, code = await busy.rest()
            assert (messages[0]["error"]["code"], code) == ("DEADLINE_EXCEEDED", 1000)
            assert await draining


async def test_a_socket_of_limited_age_ends_with_the_code_of_a_drain() -> None:
    async with serving(config=config(keepalive=Keepalive(max_age=0.1))) as (_, url):
        async with opened(url, "/jsonrpc") as socket:
            assert await socket.rest() == ([], 1012)


@pytest.mark.parametrize("path", ["/jsonrpc", "/ws/shop.v1/echo"])
async def test_half_a_message_outlasts_no_drain(path: str) -> None:
    async with serving(config=config(timeouts=Timeouts(drain=60))) as (server, url):
        async with opened(url, path) as socket:
            socket.http.send(client_frame(TEXT, b'{"argu', final=False))
            (session,) = server._gate.engines
            await eventually(lambda: session.connection.held_bytes)
            draining = asyncio.ensure_future(server.drain())
            assert await socket.rest() == ([], 1012)
            assert await draining


async def test_half_a_message_outlasts_no_credential() -> None:
    async with serving(authenticate=Credentials()) as (_, url):
        async with opened(url, "/jsonrpc", Authorization="Bearer expired") as socket:
            socket.http.send(client_frame(TEXT, b'{"jsonrpc', final=False))
            assert await socket.rest() == ([], 1008)


async def test_calls_that_outlast_a_drain_are_reported() -> None:
    shop = Shop()
    async with serving(shop) as (server, url), opened(url, "/ws/shop.v1/wait") as socket:
        socket.send({})
        await soon(shop.started)
        assert not await server.drain(0.05)
        messages, code = await socket.rest()
        assert (messages[0]["error"]["code"], code) == ("UNAVAILABLE", 1012)


async def test_a_message_over_the_limit_closes_with_its_code() -> None:
    async with serving(config=config(limits=Limits(message_bytes=100_000))) as (_, url):
        async with connect(f"{url}/ws/shop.v1/echo") as socket:
            await socket.send("x" * 100_001)
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1009


@pytest.mark.parametrize(("token", "code"), [(None, 1009), ("ada-token", None)])
async def test_a_long_message_of_json_rpc_needs_an_identity(token: str | None, code: int | None) -> None:
    """As a long body does, by POST."""
    fields = {} if token is None else {"Authorization": f"Bearer {token}"}
    call = {"jsonrpc": "2.0", "method": "shop.v1.echo", "params": ["x" * 65_536], "id": 1}
    async with serving(authenticate=StaticTokens(TOKENS)) as (_, url):
        async with connect(f"{url}/jsonrpc", additional_headers=fields) as socket:
            await socket.send(json.dumps(call))
            if code is None:
                assert json.loads(await socket.recv())["result"] == "x" * 65_536
            else:
                with pytest.raises(ConnectionClosed):
                    await socket.recv()
                assert socket.close_code == code


async def test_connections_and_calls_of_websockets_are_counted() -> None:
    shop = Shop()
    async with serving(shop) as (server, url), opened(url, "/ws/shop.v1/wait") as socket:
        socket.send({})
        await soon(shop.started)
        (peer,) = server.peers()
        assert peer.protocol == "websocket"
        assert server.stats()["live"]["calls"] == 1
        found = {labels: count for _, labels, count in server._gate.dispatcher.gauges()}
        assert (found["tcp", "websocket"], found["tcp", "http"]) == (1, 0)
        socket.http.writer.close()
        await soon(shop.cancelled)
        await eventually(lambda: not server._gate.engines)


def entry(method: str, params: Any = None, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params}), **more}


async def test_json_rpc_answers_its_messages_in_any_order() -> None:
    shop = Shop()
    async with serving(shop) as (_, url), connect(f"{url}/jsonrpc") as socket:
        await socket.send(json.dumps(entry("shop.v1.wait", id="slow")))
        await soon(shop.started)
        await socket.send(json.dumps(entry("shop.v1.note", ["a"])))
        await socket.send(json.dumps([entry("shop.v1.echo", ["b"], id=1), entry("shop.v1.none", id=2)]))
        first, second = json.loads(await socket.recv())
        assert first == {"jsonrpc": "2.0", "result": "b", "id": 1}
        assert (second["error"]["code"], second["id"]) == (-32601, 2)
        assert shop.noted == ["a"]
        for body, code in (("{", -32700), ("[]", -32600), ('{"jsonrpc": "2.0"}', -32600)):
            await socket.send(body)
            assert json.loads(await socket.recv())["error"]["code"] == code
    await soon(shop.cancelled)


async def test_json_rpc_calls_know_their_peer() -> None:
    async with serving(authenticate=StaticTokens(TOKENS)) as (_, url):
        ada = {"Authorization": "Bearer ada-token"}
        async with connect(f"{url}/jsonrpc", additional_headers=ada) as socket:
            await socket.send(json.dumps(entry("shop.v1.who", id=1)))
            assert json.loads(await socket.recv())["result"] == "ada"
        async with connect(f"{url}/jsonrpc") as socket:
            await socket.send(json.dumps(entry("shop.v1.who", id=1)))
            assert json.loads(await socket.recv())["error"]["data"]["code"] == "UNAUTHENTICATED"
        with pytest.raises(InvalidStatus) as caught:
            await connect(f"{url}/jsonrpc", additional_headers={"Authorization": "Bearer wrong"})
        assert caught.value.response.status_code == 401


async def test_json_rpc_rests_for_so_long() -> None:
    http = HTTP(websocket=True, jsonrpc=True, limits=HTTPLimits(idle_seconds=0.05))
    async with serving(config=config(http=http)) as (_, url), opened(url, "/jsonrpc") as socket:
        assert await socket.rest() == ([], 1000)


async def test_native_calls_are_unchanged_next_to_it() -> None:
    async with serving() as (_, url), Client(url.replace("ws:", "tcp:")) as native:
        assert await native.call("shop.v1.echo", "a") == "a"

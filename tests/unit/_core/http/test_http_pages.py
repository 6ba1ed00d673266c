"""The outcomes of calls, for any version of HTTP: the peer, the protocol and the form of each call are its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastrpc import HTTP, ServerConfig, current_call, method, service
from fastrpc.hosting.mounts import Mounts
from tests.support.exchanges import asked, begun, content_of
from tests.support.gateway_talk import GatewayTalk, connected
from tests.support.mounted import part, start
from tests.support.socket_frames import TEXT, client_frame
from tests.support.waiting import eventually


@service("seen")
class Seen:
    @method
    async def protocol(self) -> str:
        found: str = current_call().peer.protocol
        return found


@asynccontextmanager
async def mounting(app: Any) -> AsyncIterator[GatewayTalk]:
    """Yield a connection with an application, on which one request was answered: it has met its peer."""
    http = HTTP(mounts={"/app": app})
    async with connected(http=http) as talk:
        config = ServerConfig(protocols=("http",), http=http)
        talk.engine.service.mounts = Mounts(config, talk.engine.gate)
        assert (await talk.post("/shop.v1/echo", {"text": "a"})).value == "a"
        yield talk


async def test_requests_of_several_kinds_take_turns() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start(201))
        await send(part(scope["http_version"].encode()))

    async with mounting(app) as talk:
        mounted = await asked(talk, "/app/x", method=b"GET")
        assert (mounted.status, mounted.parts) == (201, [b"2"])
        assert content_of(await asked(talk, "/shop.v1/echo", {"text": "a"})) == "a"
        assert talk.engine.connection.protocol == "http"


async def test_a_long_body_of_an_application_waits_for_room() -> None:
    body = b"x" * (3 << 20)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(start())
        await send(part(body))

    async with mounting(app) as talk:
        exchange = await begun(talk, "/app/x", method=b"GET", takes_none=True)
        await eventually(lambda: exchange.has_sender)
        # A connection that takes nothing is over `Memory.send_soft`: the pieces are small.
        assert sum(map(len, exchange.parts)) == 1 << 16
        asyncio.get_running_loop().call_soon(exchange.make_room)
        await eventually(lambda: exchange.is_complete)
        assert b"".join(exchange.parts) == body


async def test_a_mounted_application_is_told_of_a_reset() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    async with mounting(app) as talk:
        exchange = await begun(talk, "/app/x", method=b"GET")
        await eventually(lambda: seen == ["http.request"])
        asyncio.get_running_loop().call_soon(exchange.reset)
        await eventually(lambda: seen == ["http.request", "http.disconnect"])
        await eventually(lambda: not talk.engine.connection.running)


async def test_each_call_has_the_peer_of_its_protocol() -> None:
    socket = [(b"sec-websocket-version", b"13"), (b"sec-websocket-protocol", b"fastrpc.json")]
    async with connected(shop=Seen(), http=HTTP(websocket=True)) as talk:
        assert (await talk.post("/seen/protocol", {})).value == "http"
        tunnel = await begun(talk, "/ws/seen/protocol", None, *socket, method=b"CONNECT")
        asyncio.get_running_loop().call_soon(tunnel.feed, client_frame(TEXT, b"{}"))
        await eventually(lambda: tunnel.was_cut)
        assert b'{"value":"websocket"}' in b"".join(tunnel.parts)
        assert content_of(await asked(talk, "/seen/protocol", {})) == "http"

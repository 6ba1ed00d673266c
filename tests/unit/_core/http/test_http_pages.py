"""The outcomes of calls, for any version of HTTP: the peer, the protocol and the form of each call are its own."""

import asyncio
from typing import Any

from fastrpc import HTTP, ServerConfig, current_call, method, service
from fastrpc.hosting.mounts import Mounts
from tests.support.exchanges import asked, begun, content_of
from tests.support.gateway_talk import connected
from tests.support.waiting import eventually


@service("seen")
class Seen:
    @method
    async def protocol(self) -> Any:
        call = current_call()
        return [None if call.peer is None else call.peer.protocol]


async def test_requests_of_several_kinds_take_turns() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 201, "headers": []})
        await send({"type": "http.response.body", "body": scope["http_version"].encode()})

    http = HTTP(mounts={"/app": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        mounted = await asked(talk, "/app/x", method=b"GET")
        assert (mounted.status, mounted.parts) == (201, [b"2"])
        assert content_of(await asked(talk, "/shop.v1/echo", {"text": "a"})) == "a"
        assert talk.engine.connection.protocol == "http"


async def test_a_long_body_of_an_application_waits_for_room() -> None:
    body = b"x" * (3 << 20)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    http = HTTP(mounts={"/app": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        exchange = await begun(talk, "/app/x", method=b"GET")
        exchange.takes_none = True
        await eventually(lambda: exchange.has_sender or exchange.is_complete)
        asyncio.get_running_loop().call_soon(exchange.make_room)
        await eventually(lambda: exchange.is_complete)
        assert b"".join(exchange.parts) == body


async def test_a_mounted_application_is_told_of_a_reset() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not seen or seen[-1] != "http.disconnect":
            seen.append((await receive())["type"])

    http = HTTP(mounts={"/app": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        exchange = await begun(talk, "/app/x", method=b"GET")
        await eventually(lambda: seen == ["http.request"])
        asyncio.get_running_loop().call_soon(exchange.reset)
        await eventually(lambda: seen == ["http.request", "http.disconnect"])
        await eventually(lambda: not talk.engine.connection.running)


async def test_each_call_has_the_peer_of_its_protocol() -> None:
    async with connected(shop=Seen()) as talk:
        found = content_of(await asked(talk, "/seen/protocol", {}))
        assert found == (await talk.post("/seen/protocol", {})).value

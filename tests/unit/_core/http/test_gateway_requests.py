"""The requests of one connection of the gateway, from their heads to the gate."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import HTTP, ServerConfig
from fastrpc.hosting.mounts import Mounts
from tests.support.exchanges import begun
from tests.support.gateway_talk import GatewayTalk, connected
from tests.support.http_talk import request
from tests.support.socket_frames import TEXT, client_frame
from tests.support.waiting import eventually

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_a_large_body_of_a_request_that_is_refused_anyhow_is_not_waited_for() -> None:
    async with connected() as talk:
        talk.send(b"POST /shop.v1/nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        answer = await talk.response()
        assert (answer.status, answer["connection"]) == (404, "close")


class FaultyEvent(asyncio.Event):
    """An event that raises as often as a test says, before it is set."""

    faults = 0

    def set(self) -> None:
        if FaultyEvent.faults:
            FaultyEvent.faults -= 1
            raise RuntimeError("an event cannot be set")
        super().set()


@asynccontextmanager
async def waiting_application(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[GatewayTalk, list[Any]]]:
    """Yield a connection to an application that waits for a `FaultyEvent`, and the events of the application."""
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "Event", FaultyEvent)
            events.append("waits")
            events.append(await receive())

    http = HTTP(mounts={"/app": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        yield talk, events


async def test_a_connection_whose_request_cannot_be_dropped_is_uncounted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with waiting_application(monkeypatch) as (talk, events):
        await talk.sent(request("GET", "/app", **HANDSHAKE))
        await eventually(lambda: "waits" in events)
        await talk.sent(client_frame(TEXT, b"the beginning of a message")[:-10])
        gate, connection = talk.engine.gate, talk.engine.connection
        assert (connection.held_bytes > 0, talk.engine in gate.engines) == (True, True)
        monkeypatch.setattr(FaultyEvent, "faults", 1)
        with pytest.raises(RuntimeError, match="cannot be set"):
            talk.lose()
        await eventually(lambda: len(events) == 2)
        await eventually(lambda: not connection.running)
        assert (connection.held_bytes, connection.is_closed, talk.engine in gate.engines) == (0, True, False)


async def test_a_request_that_cannot_be_dropped_ends_its_call(monkeypatch: pytest.MonkeyPatch) -> None:
    async with waiting_application(monkeypatch) as (talk, events):
        # The peer is known from the first bytes on.
        await talk.post("/shop.v1/echo", {"text": "a"})
        tunnel = await begun(talk, "/app", None, (b"sec-websocket-version", b"13"), method=b"CONNECT")
        await eventually(lambda: "waits" in events)
        monkeypatch.setattr(FaultyEvent, "faults", 1)
        with pytest.raises(RuntimeError, match="cannot be set"):
            tunnel.reset()
        await eventually(lambda: len(events) == 2 and not talk.engine.connection.running)
        assert not tunnel.is_known
        assert (events[1]["type"], talk.engine.connection.held_bytes) == ("websocket.disconnect", 0)
        assert (await talk.post("/shop.v1/echo", {"text": "b"})).value == "b"


async def test_an_exchange_whose_request_cannot_be_dropped_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with waiting_application(monkeypatch) as (talk, events):
        await talk.post("/shop.v1/echo", {"text": "a"})
        tunnel = await begun(talk, "/app", None, (b"sec-websocket-version", b"13"), method=b"CONNECT")
        await eventually(lambda: "waits" in events)
        assert tunnel.is_known
        # Its WebSocket and its call.
        monkeypatch.setattr(FaultyEvent, "faults", 2)
        with pytest.raises(RuntimeError, match="cannot be set"):
            tunnel.reset()
        assert (tunnel.is_known, FaultyEvent.faults) == (False, 0)

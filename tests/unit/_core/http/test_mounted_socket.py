"""A WebSocket of a mounted application on a connection that leads nowhere."""

import asyncio
import time
from typing import Any

import pytest

from fastrpc import HTTP, Keepalive, ServerConfig
from fastrpc.hosting.mounts import Mounts
from fastrpc_harness.checking import check
from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.socket_frames import TEXT, client_frame, closing, read_frame
from tests.support.waiting import eventually

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_frames_that_come_with_the_handshake_wait_for_its_answer() -> None:
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        events.append(await receive())
        await send({"type": "websocket.accept"})
        while events[-1]["type"] != "websocket.disconnect":
            events.append(await receive())

    http = HTTP(mounts={"/": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        await talk.sent(request("GET", "/", **HANDSHAKE) + client_frame(TEXT, b"early") + closing(1001))
        await eventually(lambda: len(events) == 3)
        assert events[1:] == [
            {"type": "websocket.receive", "text": "early"},
            {"type": "websocket.disconnect", "code": 1001, "reason": ""},
        ]
        head, _, frames = talk.transport.written.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        found = read_frame(frames)
        assert found is not None
        assert found[0].code == 1001
        assert talk.engine.connection.held_bytes == 0


@pytest.mark.parametrize("interval", [20.0, None])
async def test_silent_client_is_pinged_and_dropped_by_the_times_of_keepalive(interval: float | None) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    config = ServerConfig(
        protocols=("http",), http=HTTP(mounts={"/": app}), keepalive=Keepalive(interval=interval, timeout=7.0)
    )
    async with connected(http=config.http, config=config) as talk:
        talk.engine.service.mounts = Mounts(config, talk.engine.gate)
        await talk.sent(request("GET", "/", **HANDSHAKE))
        await eventually(lambda: b" 101 " in talk.transport.written)
        before, began, found = len(talk.transport.written), time.monotonic_ns(), []
        for seconds in (19, 21, 26, 29):
            check(talk.engine, began + seconds * 1_000_000_000)
            # Output is written in the next turn.
            await asyncio.sleep(0)
            found.append((bytes(talk.transport.written[before:]), talk.transport.is_closing()))
        ping = b"\x89\0"
        pinged = [(b"", False), (ping, False), (ping, False), (ping, True)]
        assert found == (pinged if interval else [(b"", False)] * 4)


@pytest.mark.parametrize("taken", [0, 1, 4])
@pytest.mark.parametrize("error", [None, RuntimeError("a mistake"), asyncio.CancelledError()])
async def test_messages_outlast_the_connection_and_count_until_the_application_ends(
    taken: int, error: BaseException | None
) -> None:
    goes_on, has_ended = asyncio.Event(), asyncio.Event()
    events: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await goes_on.wait()
        try:
            for _ in range(taken):
                events.append(await receive())
            if error is not None:
                raise error
        finally:
            has_ended.set()

    http = HTTP(mounts={"/": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        connection = talk.engine.connection
        await talk.sent(request("GET", "/", **HANDSHAKE))
        await eventually(lambda: b" 101 " in talk.transport.written)
        await talk.sent(b"".join(client_frame(TEXT, b"m%d" % number) for number in range(3)) + closing(1000))
        talk.lose()
        assert connection.held_bytes > 6
        goes_on.set()
        await has_ended.wait()
        await eventually(lambda: connection.held_bytes == 0)
    messages = [{"type": "websocket.receive", "text": f"m{number}"} for number in range(3)]
    assert events == [*messages, {"type": "websocket.disconnect", "code": 1000, "reason": ""}][:taken]

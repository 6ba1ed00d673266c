"""A WebSocket of a mounted application on a connection that leads nowhere."""

from typing import Any

from fastrpc import HTTP, ServerConfig
from fastrpc.hosting.mounts import Mounts
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

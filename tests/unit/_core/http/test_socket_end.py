"""The server's end of a WebSocket: control frames, for any use of the messages."""

from typing import Any

import pytest

from fastrpc import HTTP, ServerConfig
from fastrpc.hosting.mounts import Mounts
from tests.support.gateway_talk import connected
from tests.support.http_talk import request
from tests.support.socket_frames import CLOSE, PING, PONG, TEXT, client_frame, closing, read_frame
from tests.unit._core.http.test_mounted_socket import HANDSHAKE


@pytest.mark.parametrize(
    ("frame", "opcode", "content"),
    [
        (client_frame(PING, b"are you there"), PONG, b"are you there"),
        (closing(4000), CLOSE, (4000).to_bytes(2)),
        (client_frame(TEXT, b"not masked", is_masked=False), CLOSE, (1002).to_bytes(2)),
    ],
)
async def test_control_frames_and_violations_are_answered(frame: bytes, opcode: int, content: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass

    http = HTTP(mounts={"/": app})
    async with connected(http=http) as talk:
        talk.engine.service.mounts = Mounts(ServerConfig(protocols=("http",), http=http), talk.engine.gate)
        await talk.sent(request("GET", "/", **HANDSHAKE))
        await talk.sent(frame)
        found = read_frame(talk.transport.written.partition(b"\r\n\r\n")[2])
        assert found is not None
        assert (found[0].opcode, found[0].content[: len(content)]) == (opcode, content)

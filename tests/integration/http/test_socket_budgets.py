"""A message of a WebSocket that is over a budget of memory is refused before it is whole, of JSON-RPC as of a call."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, Client, Limits, Server, ServerConfig
from fastrpc.config import Memory
from tests.support.http_talk import HttpClient
from tests.support.socket_client import SocketClient
from tests.support.socket_frames import CONTINUATION, TEXT, client_frame
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

MIB = 1_048_576
LARGE = 900_000
#: The code of a close frame in RFC 6455's registries: try again later.
TRY_LATER = 1013


@fastrpc.service("held")
class Held:
    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.started = 0

    @fastrpc.method
    async def hold(self, text: str) -> int:
        self.started += 1
        await self.may_end.wait()
        return len(text)


def entry(size: int, id: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "held.hold", "params": {"text": "x" * size}, "id": id}


MESSAGES: dict[str, tuple[str, Any]] = {
    "a request": ("/jsonrpc", entry(LARGE, 9)),
    "a batch": ("/jsonrpc", [entry(LARGE // 3, id) for id in (7, 8, 9)]),
    "a call": ("/ws/held/hold", {"arguments": {"text": "x" * LARGE}}),
}


def in_frames(content: bytes, size: int) -> bytes:
    """Return a message in frames of the given number of bytes, without the end of the last one."""
    places = range(0, len(content), size)
    frames = [
        client_frame(TEXT if at == 0 else CONTINUATION, content[at : at + size], final=at == places[-1])
        for at in places
    ]
    return b"".join(frames)[:-1]


def serving(held: Held, **memory: int) -> Server:
    config = ServerConfig(
        protocols=("native", "http"),
        http=HTTP(jsonrpc=True, websocket=True),
        limits=Limits(message_bytes=MIB),
        memory=Memory(**memory),
    )
    return Server(held, config=config)


async def refusal(socket: SocketClient) -> tuple[int, str]:
    """Return the code and the reason of the close frame that comes."""
    async with asyncio.timeout(20):
        head = await socket.http.reader.readexactly(2)
        assert head[0] & 0x0F == 8
        content = await socket.http.reader.readexactly(head[1] & 0x7F)
    return int.from_bytes(content[:2]), content[2:].decode()


@pytest.mark.parametrize("frame_bytes", [MIB, 20_000])
@pytest.mark.parametrize("name", ["a request", "a batch"])
@pytest.mark.parametrize("first", ["a request", "a batch"])
async def test_requests_of_one_connection_are_over_its_budget(
    first: str, name: str, frame_bytes: int
) -> None:
    held = Held()
    async with serving(held, request_bytes=MIB + MIB // 2) as server, AsyncExitStack() as stack:
        address = await server.listen("tcp://127.0.0.1:0")
        socket = SocketClient(await stack.enter_async_context(await HttpClient.to(address)))
        assert (await socket.open("/jsonrpc")).status == 101
        begun: Any = MESSAGES[first][1]
        socket.http.send(client_frame(TEXT, json.dumps(begun).encode()))
        # Behind a stall the calls of a batch start in several turns.
        started = len(begun) if isinstance(begun, list) else 1
        await eventually(lambda: held.started == started)
        socket.http.send(in_frames(json.dumps(MESSAGES[name][1]).encode(), frame_bytes))
        code, reason = await refusal(socket)
        assert code == TRY_LATER
        assert "(Memory.request_bytes" in reason
        assert held.started == started
        held.may_end.set()


@pytest.mark.parametrize("frame_bytes", [MIB, 20_000])
@pytest.mark.parametrize("name", MESSAGES)
async def test_all_connections_are_over_the_budget_of_the_process(name: str, frame_bytes: int) -> None:
    held = Held()
    path, message = MESSAGES[name]
    async with serving(held, process_bytes=4 * MIB) as server, AsyncExitStack() as stack:
        address = await server.listen("tcp://127.0.0.1:0")
        client = await stack.enter_async_context(Client(str(address)))
        calls = [asyncio.ensure_future(client.call(Held.hold, "y" * LARGE)) for _ in range(4)]
        await eventually(lambda: held.started == len(calls))
        socket = SocketClient(await stack.enter_async_context(await HttpClient.to(address)))
        assert (await socket.open(path)).status == 101
        socket.http.send(in_frames(json.dumps(message).encode(), frame_bytes))
        code, reason = await refusal(socket)
        assert code == TRY_LATER
        assert "of Memory.process_bytes)" in reason
        assert held.started == len(calls)
        held.may_end.set()
        assert await asyncio.gather(*calls) == [LARGE] * len(calls)

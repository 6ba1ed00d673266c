"""Callers by WebSocket that leave while their remaining input does not fit into the server: all their state is freed.

The end of such a caller comes after bytes that its own system still holds back: neither a read nor a poll of the server
shows it.
"""

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, TLS, Address, Keepalive, Server, ServerConfig, Timeouts
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.certificates import Authority
from tests.support.held_caller import Held, dialled
from tests.support.http_talk import HttpClient
from tests.support.mounted import mounted
from tests.support.socket_client import SocketClient, handshake
from tests.support.socket_frames import PING, PONG, TEXT, client_frame
from tests.support.waiting import eventually

#: Callers that come at once.
AT_ONCE = 10
#: Bytes of the messages of a caller; the server may read any share of them.
SIZES = (1_000, 8_000, 60_000, 200_000)


@fastrpc.service("held")
class Unread:
    """A handler that takes nothing of its stream."""

    def __init__(self) -> None:
        self.running = 0
        self.started = 0

    @fastrpc.method
    async def sizes(self, blocks: AsyncIterator[str]) -> int:
        self.started += 1
        self.running += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.running -= 1
        return 0


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TLS:
    return Authority(tmp_path_factory.mktemp("gone")).certificate("DNS:localhost").tls()


@contextlib.asynccontextmanager
async def unread(scheme: str, tls: TLS) -> AsyncIterator[tuple[Unread, Server, Address]]:
    service = Unread()
    config = ServerConfig(
        protocols=("native", "http"), http=HTTP(websocket=True), tls=tls if scheme == "tls" else None
    )
    async with Server(service, config=config) as server:
        yield service, server, await server.listen(f"{scheme}://127.0.0.1:0")


def go_soon(address: Address, source: random.Random, path: str = "/ws/held/sizes") -> None:
    """Open a stream, send up to a megabyte of it as far as it goes within 50 ms, and close."""
    value = client_frame(TEXT, json.dumps({"value": "x" * source.choice(SIZES)}).encode())
    total = source.randint(300_000, 1_000_000)
    sent = (client_frame(TEXT, b"{}") + value * (total // len(value) + 1))[:total]
    with dialled(address) as caller:
        caller.sendall(handshake(path))
        assert b" 101 " in caller.recv(4_096)
        ends = time.monotonic() + 0.05 * source.random()
        caller.setblocking(False)
        at = 0
        while time.monotonic() < ends:
            try:
                at += caller.send(sent[at : at + 65_536]) if at < total else 0
            except (BlockingIOError, ssl.SSLWantWriteError):
                time.sleep(0.001)


async def go(address: Address, sources: list[random.Random], path: str = "/ws/held/sizes") -> None:
    for at in range(0, len(sources), AT_ONCE):
        await asyncio.gather(
            *(asyncio.to_thread(go_soon, address, source, path) for source in sources[at : at + AT_ONCE])
        )


@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_callers_that_go_in_the_middle_of_their_input_are_noticed(
    scheme: str, tls: TLS, scale: Any
) -> None:
    async with unread(scheme, tls) as (service, server, address):
        await go(address, [scale.random(number) for number in range(4 * AT_ONCE)])
        await eventually(lambda: service.running == 0 and not server._gate.engines)
        assert service.started > 0
        assert server.stats()["live"]["calls"] == 0
        assert bytes_held() == 0


async def untaken(scope: Any, receive: Any, send: Any) -> None:
    """Accept a WebSocket and read none of its messages."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


@pytest.mark.parametrize("interval", [10.0, None])
async def test_callers_of_a_mounted_application_that_go_are_noticed_also_without_pings(
    interval: float | None, scale: Any
) -> None:
    config = {"keepalive": Keepalive(interval=interval), "timeouts": Timeouts(drain=0.1)}
    async with mounted({"/app": untaken}, config=config) as client:
        await go(client.address, [scale.random(number) for number in range(4 * AT_ONCE)], "/app")
        await eventually(lambda: not client.server._gate.engines)


@pytest.mark.measures
@pytest.mark.parametrize("scheme", ["tcp", "tls"])
async def test_within_two_seconds_all_of_a_thousand_callers_are_noticed_as_gone(
    scheme: str, tls: TLS, scale: Any
) -> None:
    async with unread(scheme, tls) as (service, server, address):
        await go(address, [scale.random(number) for number in range(1_000)])
        await asyncio.sleep(2)
        assert (service.running, len(server._gate.engines)) == (0, 0)


async def test_a_caller_that_stays_is_asked_for_it_and_continues(tls: TLS) -> None:
    service = Held()
    config = ServerConfig(protocols=("native", "http"), http=HTTP(websocket=True))
    async with Server(service, config=config) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            talk = SocketClient(client)
            assert (await talk.open("/ws/held/sizes")).status == 101
            talk.send({}, *[{"value": "x" * 8_000}] * 100)
            pings = [await talk.frame() for _ in range(2)]
            assert [ping.opcode for ping in pings] == [PING, PING]
            client.send(client_frame(PONG) * 2)
            assert not service.cancelled.is_set()
            service.go.set()
            talk.send({"end": True})
            while (frame := await talk.frame()).opcode == PING:
                pass
            assert json.loads(frame.content) == {"value": 800_000}

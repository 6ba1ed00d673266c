"""Connections of the HTTP gateway: framing, times, drain."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, HTTPLimits, Limits, Server, ServerConfig, Timeouts
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, request, soon
from tests.support.waiting import eventually
from tests.unit._core.http1.test_refused_requests import REFUSED, SMUGGLED

ECHO = "/shop.v1/echo"


def config(**options: Any) -> ServerConfig:
    return ServerConfig(protocols=options.pop("protocols", ("http",)), **options)


@pytest.mark.one_loop
@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
async def test_a_request_that_could_smuggle_is_refused_and_closes(data: bytes) -> None:
    # An existing method, so that its body is read.
    data = data.replace(b"POST /x", b"POST /shop.v1/echo", 1)
    data = data.replace(b"Host: a\r\n", b"Host: a\r\nContent-Type: application/json\r\n", 1)
    http = HTTP(allowed_hosts=("a",), http2=data != REFUSED["version 2"])
    async with Server(Shop(), config=config(http=http)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            client.send(data + SMUGGLED)
            answer = await client.response()
            assert (answer.status, answer["connection"]) == (400, "close")
            assert answer["content-type"] == "application/problem+json"
            assert answer.value["code"] == "INVALID_ARGUMENT"
            assert await client.is_closed()


async def test_a_head_that_comes_too_slowly_is_refused() -> None:
    limits = HTTP(limits=HTTPLimits(header_seconds=0.05))
    async with Server(Shop(), config=config(http=limits)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        answer = None
        while answer is None:
            async with await HttpClient.to(address) as client:
                client.send(b"POST /shop.v1/echo HTTP/1.1\r\nHost: a\r\n")
                # Where not even the first byte comes in time, there is no request to answer.
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    answer = await client.response()
                    assert await client.is_closed()
        assert answer.status == 408


async def test_a_body_that_comes_too_slowly_is_refused_and_an_idle_connection_closed() -> None:
    limits = HTTP(limits=HTTPLimits(body_idle_seconds=0.05, idle_seconds=0.05))
    async with Server(Shop(), config=config(http=limits)) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as client:
            client.send(request("POST", ECHO, b"", Content_Length="10"))
            assert (await client.response()).status == 408
            assert await client.is_closed()
        async with await HttpClient.to(address) as client:
            assert (await client.post(ECHO, {"text": "a"})).status == 200
            # Nobody waits for an answer: the connection just closes.
            assert await client.is_closed()


@pytest.mark.parametrize(
    ("limits", "sent", "status"),
    [
        ({"headers": 3}, b"A: 1\r\nB: 1\r\nC: 1\r\n", 431),
        ({"header_bytes": 300}, b"A: " + b"x" * 400 + b"\r\n", 431),
        ({"headers": 100}, b"".join(b"A%d: 1\r\n" % at for at in range(10_000)), 431),
    ],
)
async def test_fields_are_bounded(limits: dict[str, int], sent: bytes, status: int) -> None:
    async with Server(Shop(), config=config(http=HTTP(limits=HTTPLimits(**limits)))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(b"POST /a/b HTTP/1.1\r\nHost: 127.0.0.1\r\n" + sent + b"\r\n")
            assert (await client.response()).status == status


async def test_a_target_is_bounded() -> None:
    async with Server(Shop(), config=config(http=HTTP(limits=HTTPLimits(target_bytes=64)))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            assert (await client.post("/" + "a" * 70, {})).status == 414


async def test_endless_chunks_are_bounded() -> None:
    async with Server(Shop(), config=config(limits=Limits(message_bytes=100_000))) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(request("POST", ECHO, b"", Content_Length=None, Transfer_Encoding="chunked"))
            for _ in range(200):
                client.send(b"400\r\n" + b" " * 1_024 + b"\r\n")
            assert (await client.response()).status == 413
            assert await client.is_closed()


async def test_bodies_that_are_not_whole_count_as_memory() -> None:
    async with Server(Shop(), config=config()) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(request("POST", ECHO, b"x" * 1_000_000, Content_Length="2000000"))
            await eventually(lambda: server._gate.engines)
            (session,) = server._gate.engines
            await eventually(lambda: session.connection.request_held >= 900_000)
        await eventually(lambda: not server._gate.engines)
        assert session.connection.held_bytes == 0


async def test_a_drain_answers_the_last_request_and_closes() -> None:
    shop = Shop()
    async with Server(shop, config=config(timeouts=Timeouts(drain=20))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as idle, await HttpClient.to(address) as busy:
            assert (await idle.post(ECHO, {"text": "a"})).status == 200
            busy.send(request("POST", "/shop.v1/wait", {}))
            await soon(shop.started)
            draining = asyncio.ensure_future(server.drain())
            await eventually(lambda: all(session.connection.is_draining for session in server._gate.engines))
            answer = await idle.post(ECHO, {"text": "b"})
            assert (answer.value, answer["connection"]) == ("b", "close")
            assert await idle.is_closed()
            shop.goes_on.set()
            answer = await busy.response()
            assert (answer.status, answer["connection"]) == (200, "close")
            assert await draining


async def test_calls_that_outlast_a_drain_are_answered() -> None:
    shop = Shop()
    async with Server(shop, config=config()) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(request("POST", "/shop.v1/wait", {}))
            await soon(shop.started)
            assert not await server.drain(0.05)
            answer = await client.response()
            assert (answer.status, answer.value["code"]) == (503, "UNAVAILABLE")
            assert "retry-after" in answer


@fastrpc.service("large")
class Large:
    @fastrpc.method
    async def text(self, size: int) -> str:
        return "x" * size


def read_to_end(peer: socket.socket) -> bytes:
    """Return all that the other side sent before it closed."""
    peer.setblocking(True)
    peer.settimeout(20)
    pieces = []
    while piece := peer.recv(65_536):
        pieces.append(piece)
    return b"".join(pieces)


async def test_a_close_with_an_unread_request_loses_nothing_of_the_answer_before() -> None:
    """The system resets a connection that is closed with unread input, and drops unsent output."""
    asked = request("POST", "/large/text", {"size": 8_000_000})
    async with Server(Large(), config=config()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        with socket.socket() as peer:
            # Far less than the answer.
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            peer.connect((address.host, address.port))
            peer.sendall(asked)
            await eventually(lambda: any(engine.unsent_bytes() for engine in server._gate.engines))
            [engine] = server._gate.engines
            peer.sendall(asked)
            engine.close()
            found = await asyncio.to_thread(read_to_end, peer)
    assert found.endswith(b'\r\n\r\n"' + b"x" * 8_000_000 + b'"')


async def test_connections_above_the_limit_are_closed() -> None:
    async with Server(Shop(), config=config(limits=Limits(connections=1))) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with await HttpClient.to(address) as first:
            assert (await first.post(ECHO, {"text": "a"})).status == 200
            async with await HttpClient.to(address) as second:
                # Its first byte says by which version of HTTP.
                second.send(b"P")
                assert await second.is_closed()
            assert (await first.post(ECHO, {"text": "a"})).status == 200


async def test_connections_and_calls_of_http_are_counted() -> None:
    shop = Shop()
    async with Server(shop, config=config()) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            client.send(request("POST", "/shop.v1/wait", {}))
            await soon(shop.started)
            stats = server.stats()
            assert stats["live"]["connections"] == 1
            assert stats["live"]["calls"] == 1
            (peer,) = server.peers()
            assert peer.protocol == "http"

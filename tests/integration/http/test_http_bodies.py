"""Bodies that come in pieces: the bytes that they count, their senders' rights, and drains meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fastrpc import HTTP, Identity, Server, ServerConfig
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.auth import StaticTokens
from tests.support.http_shop import Shop
from tests.support.http_talk import HttpClient, request
from tests.support.waiting import eventually

ADA = {"Authorization": "Bearer ada-token"}
TEXT = "x" * 100_000
#: An NDJSON body in chunks.
LINES = {"Content_Type": "application/x-ndjson", "Content_Length": None, "Transfer_Encoding": "chunked"}


async def slow_verdict(peer: Any) -> Identity | None:
    await asyncio.sleep(0.001)
    return Identity("ada") if peer.credentials == "ada-token" else None


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[HttpClient]:
    config = ServerConfig(protocols=("http",), http=HTTP(jsonrpc=True, mcp=True))
    async with Server(Shop(), config=config, **options) as server:
        async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
            yield client


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/shop.v1/echo", {"text": TEXT}),
        ("/shop.v1/later", {"text": TEXT}),
        ("/shop.v1/echo", {"wrong": TEXT}),
        ("/jsonrpc", {"jsonrpc": "2.0", "id": 1, "method": "shop.v1.echo", "params": {"text": TEXT}}),
    ],
)
async def test_a_body_that_arrived_in_pieces_holds_no_memory_after_its_answer(path: str, body: Any) -> None:
    before = bytes_held()
    async with serving() as client:
        whole = request("POST", path, body)
        for _ in range(3):
            client.send(whole[:50_000])
            await eventually(lambda: bytes_held() > before)
            client.send(whole[50_000:])
            assert (await client.response()).body
            await eventually(lambda: bytes_held() == before)


async def test_a_long_line_of_a_stream_counts_as_held_memory() -> None:
    before = bytes_held()
    async with serving() as client:
        client.send(request("POST", "/shop.v1/total", b"", **LINES))
        for _ in range(20):
            client.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        await eventually(lambda: bytes_held() >= before + 2_000_000)
        client.writer.transport.abort()
        await eventually(lambda: bytes_held() == before)


async def test_a_stream_whose_sender_is_found_out_slowly_is_answered() -> None:
    async with serving(authenticate=slow_verdict) as client:
        body = b'{"value":1}\n{"value":2}\n'
        client.send(
            request("POST", "/shop.v1/total", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), **LINES, **ADA)
        )
        answer = await client.response()
        assert (answer.status, b"3" in answer.body) == (200, True)


@pytest.mark.parametrize("fields", [{}, {"Expect": "100-continue"}])
async def test_a_request_without_a_body_whose_sender_is_found_out_slowly_is_answered(
    fields: dict[str, str],
) -> None:
    async with serving(authenticate=slow_verdict) as client:
        assert (await client.ask("GET", "/mcp", **fields, **ADA)).status == 405


@pytest.mark.parametrize(
    "verify", [slow_verdict, StaticTokens({"ada-token": Identity("ada")})], ids=["slow", "quick"]
)
@pytest.mark.parametrize("text", ["x", TEXT], ids=["short", "long"])
async def test_a_decision_that_fails_has_the_same_answer_for_any_size(verify: Any, text: str) -> None:
    def authorize(identity: Any, route: Any) -> bool:
        raise ValueError("no decision")

    async with serving(authenticate=verify, authorize=authorize) as client:
        client.send(request("POST", "/shop.v1/echo", {"text": text}, **ADA))
        response = await client.response()
        assert response.status == 500
        assert "shop.v1.echo: it could not be decided whether the call may start" in response.body.decode()


async def test_a_caller_with_a_wrong_token_sends_no_long_body() -> None:
    async with serving(authenticate=slow_verdict) as client:
        head = request("POST", "/jsonrpc", b"", Expect="100-continue", Authorization="Bearer wrong")
        client.send(head.replace(b"Content-Length: 0", b"Content-Length: 10000000"))
        assert (await client.response()).status == 401
        assert await client.is_closed()


async def test_a_drain_waits_for_a_request_that_is_being_sent() -> None:
    server = Server(Shop(), config=ServerConfig(protocols=("http",)))
    async with await HttpClient.to(await server.listen("tcp://127.0.0.1:0")) as client:
        whole = request("POST", "/shop.v1/echo", {"text": TEXT})
        client.send(whole[:50_000])
        before = bytes_held()
        await eventually(lambda: bytes_held() != before or server.stats()["live"]["connections"] == 1)
        draining = asyncio.ensure_future(server.drain(20))
        # Longer than a connection that rests is kept open.
        await asyncio.wait([draining], timeout=1.3)
        assert not draining.done()
        client.send(whole[50_000:])
        assert (await client.response()).status == 200
        assert await draining
    await server.close()

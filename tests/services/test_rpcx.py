"""rpcx itself, v1.9.4 for Go, against our server, and our client against its server."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

import fastrpc
from fastrpc import (
    CallError,
    Client,
    ClientConfig,
    DeadlineExceededError,
    Keepalive,
    Server,
    ServerConfig,
    Status,
    Timeouts,
)
from fastrpc.auth import Identity, StaticTokens
from tests.support.go_rpcx import go_server
from tests.support.rpcx_arith import Args, Arith, Fn, Reply
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


async def told_by(program: str, *servers: Server, role: str = "client") -> dict[str, Any]:
    """Return the results of a client of Go."""
    addresses = [str(await server.listen("tcp://127.0.0.1:0")).removeprefix("tcp://") for server in servers]
    process = await asyncio.create_subprocess_exec(
        program, role, ",".join(addresses), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output)
    return found


async def test_a_client_of_go_calls_our_server(go_rpcx: str) -> None:
    async with Server(Arith(), Fn(), config=ServerConfig(protocols=("native", "rpcx"))) as server:
        found = await told_by(go_rpcx, server)
    metadata = found.pop("metadata")
    assert metadata["echo-trace"] == "abc"
    assert found == {
        **{f"{codec}{what}": value for codec in ("msgpack", "json") for what, value in EACH_CODEC.items()},
        "protobuf": "proto",
        "gzip": True,
        "one-way": True,
        "notes": ["told"],
        "wrong of 500 at once": 0,
        "heartbeats": 400,
        "deadline seen": True,
        "deadline over": True,
        "after it": 12,
        "wrong token": "taken",
    }


EACH_CODEC = {"": 42, " text": "grüße <&>", " error": "error: boom", " unknown": True}


async def test_a_client_of_go_shows_its_token(go_rpcx: str) -> None:
    tokens = StaticTokens({"secret": Identity("gopher")})
    config = ServerConfig(protocols=("native", "rpcx"))
    async with Server(Arith(), Fn(), config=config, authenticate=tokens) as server:
        found = await told_by(go_rpcx, server)
    assert found["deadline seen"] is True
    assert found["after it"] == 12
    assert found["wrong token"].startswith("error: ")
    assert found["msgpack"].startswith("error: ")


@fastrpc.service("Arith")
class PushingArith(Arith):
    """Pushes to its caller, as the service of Go does."""

    @fastrpc.method
    async def Push(self, count: int) -> int:
        caller = fastrpc.current_call().peer.client
        assert caller is not None
        for number in range(count):
            await caller.with_options(codec="raw").notify("news.first", b"push %d" % number)
        return count


async def test_a_client_of_go_broadcasts_forks_and_is_pushed_to(go_rpcx: str) -> None:
    config = ServerConfig(protocols=("native", "rpcx"))
    async with Server(PushingArith(), config=config) as one, Server(PushingArith(), config=config) as other:
        found = await told_by(go_rpcx, one, other, role="fan")
    assert found == {
        "broadcast": 42,
        "fork": 12,
        "broadcast error": True,
        "push": 3,
        "pushed": [f"news.first push {number}" for number in range(3)],
    }


@dataclass
class Line:
    item_id: int
    note_text: str


@dataclass
class Basket:
    user_id: int
    lines: list[Line]
    best_line: Line | None = None


@fastrpc.service("shop.v1", rpcx="go")
class Shop:
    @fastrpc.method
    async def fill_basket(self, basket: Basket) -> Basket:
        return Basket(basket.user_id + 1, [*basket.lines, Line(2, "b")], basket.lines[0])


async def test_a_client_of_go_calls_by_the_names_of_go(go_rpcx: str) -> None:
    async with Server(Shop(), config=ServerConfig(protocols=("rpcx",))) as server:
        found = await told_by(go_rpcx, server, role="names")
    first, second = ({"ItemID": number, "NoteText": text} for number, text in ((1, "a"), (2, "b")))
    answer = {"UserID": 8, "Lines": [first, second], "BestLine": first}
    assert found == {"msgpack": answer, "json": answer}


async def test_a_rolling_restart_fails_no_call_of_a_client_of_go_that_fails_over(go_rpcx: str) -> None:
    """The list of servers does not show the restart of one of them, and the client never pauses."""
    config = ServerConfig(protocols=("native", "rpcx"), timeouts=Timeouts(drain=2.0))
    async with contextlib.AsyncExitStack() as stack:
        servers, addresses = [], []
        for _ in range(2):
            servers.append(await stack.enter_async_context(Server(Arith(), config=config)))
            addresses.append(str(await servers[-1].listen("tcp://127.0.0.1:0")))
        places = ",".join(address.removeprefix("tcp://") for address in addresses)
        process = await asyncio.create_subprocess_exec(
            go_rpcx, "over", places, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        stack.callback(lambda: process.returncode is None and process.kill())
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(120):
            for number in range(4):
                assert (await process.stdout.readline()).strip().isdigit()
                assert await servers[number % 2].drain() is True
                servers[number % 2] = await stack.enter_async_context(Server(Arith(), config=config))
                await servers[number % 2].listen(addresses[number % 2])
            process.stdin.close()
            *_, last = (await process.stdout.read()).splitlines()
            await process.wait()
    found = json.loads(last)
    assert found["failed"] == []
    assert found["done"] >= 1_000


# Our client, their server

SPEAKS_RPCX = ClientConfig(wire_protocol="rpcx")


@pytest.mark.parametrize("codec", ["msgpack", "json"])
async def test_our_client_calls_a_server_of_go(go_rpcx: str, codec: str) -> None:
    async with go_server(go_rpcx) as (target, _):
        async with Client(target, config=ClientConfig(wire_protocol="rpcx", codec=codec)) as client:
            assert await client.call(Arith.Mul, Args(6, 7)) == Reply(42)
            assert await client.call("Arith.Mul", {"A": 2, "B": 3}) == {"C": 6}
            assert await client.call(Arith.Echo, "grüße <&>") == "grüße <&>"
            assert await client.with_options(codec="raw").call(Arith.EchoBytes, b"\0\xff") == b"\0\xff"
            assert await client.call(Arith.EchoPB, StringValue(value="proto")) == StringValue(value="proto")
            assert await client.with_options(timeout=2).call(Arith.HasDeadline) is True
            assert await asyncio.gather(*[client.call(Arith.Mul, Args(n, n)) for n in range(500)]) == [
                Reply(n * n) for n in range(500)
            ]
            text = "alpha bravo " * 50_000
            assert await client.with_options(compressor="gzip").call(Arith.Echo, text) == text
            reply = await client.with_options(metadata={"trace": "abc"}).request(Arith.Meta, Args(2, 3))
            assert (reply.value, reply.metadata["echo-trace"]) == (Reply(6), "abc")
            await client.notify(Arith.Note, "told")
            while await client.call(Arith.Notes) != ["told"]:
                await asyncio.sleep(0.01)


async def test_errors_and_deadlines_of_a_server_of_go(go_rpcx: str) -> None:
    async with go_server(go_rpcx) as (target, _), Client(target, config=SPEAKS_RPCX) as client:
        with pytest.raises(CallError) as caught:
            await client.call(Arith.Fail, Args())
        assert (caught.value.status, caught.value.message) == (Status.UNKNOWN, "boom")
        with pytest.raises(CallError, match="can't find method Nope"):
            await client.call("Arith.Nope", {})
        with pytest.raises(DeadlineExceededError):
            await client.with_options(timeout=0.1).call(Arith.Sleep, 2_000)
        # The late answer is dropped.
        assert await client.call(Arith.Sleep, 10) == 10


async def test_a_server_of_go_gets_our_token(go_rpcx: str) -> None:
    async with go_server(go_rpcx, "secret") as (target, _):
        async with Client(target, config=SPEAKS_RPCX, credentials="secret") as client:
            assert await client.call(Arith.Mul, Args(6, 7)) == Reply(42)
        async with Client(target, config=SPEAKS_RPCX, credentials="wrong") as client:
            with pytest.raises(CallError, match="invalid token"):
                await client.call(Arith.Mul, Args(6, 7))


async def test_heartbeats_keep_a_connection_to_a_server_of_go(go_rpcx: str) -> None:
    keepalive = Keepalive(interval=0.05, timeout=0.3, minimum_interval=0)
    config = ClientConfig(wire_protocol="rpcx", keepalive=keepalive)
    async with go_server(go_rpcx) as (target, _), Client(target, config=config) as client:
        assert await client.call(Arith.Sleep, 1_000) == 1_000
        [before] = client._pool.connections
        await asyncio.sleep(0.5)
        assert await client.call(Arith.Mul, Args(6, 7)) == Reply(42)
        assert client._pool.connections == [before]


@fastrpc.service("news")
class News:
    def __init__(self) -> None:
        self.heard: dict[str, bytes] = {}

    @fastrpc.method
    async def first(self, data: bytes) -> None:
        self.heard[fastrpc.current_call().metadata["n"]] = data


async def test_our_client_broadcasts_forks_and_is_pushed_to(go_rpcx: str) -> None:
    news = News()
    async with go_server(go_rpcx) as (one, _), go_server(go_rpcx) as (other, _):
        async with Client([one, other], config=SPEAKS_RPCX, services=[news]) as client:
            replies = await client.broadcast(Arith.Mul, Args(6, 7))
            assert [reply.value for reply in replies.values()] == [Reply(42)] * 2
            assert await client.fork(Arith.Mul, Args(3, 4)) == Reply(12)
            assert await client.call("Arith.Push", 3) == 3
            await eventually(lambda: len(news.heard) == 3)
    assert news.heard == {str(number): b"push %d" % number for number in range(3)}

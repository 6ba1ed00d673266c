"""rpcx itself, v1.9.4 for Go, against our server, and our client against its server."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
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
    UnavailableError,
)
from fastrpc.auth import Identity, StaticTokens
from tests.support.rpcx_arith import Args, Arith, Fn, Reply

pytestmark = pytest.mark.one_loop

SOURCES = Path(__file__).parent / "go_rpcx"


@pytest.fixture(scope="session")
def go_rpcx(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program of `go_rpcx`; skips the test where there is no Go."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("Go is not installed")
    program = tmp_path_factory.mktemp("go") / "go_rpcx"
    subprocess.run(
        [go, "build", "-o", program, "."], cwd=SOURCES, check=True, env={**os.environ, "GOFLAGS": ""}
    )
    return str(program)


async def told_by(program: str, server: Server) -> dict[str, Any]:
    """Return what a client of Go found."""
    address = await server.listen("tcp://127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(
        program, "client", str(address).removeprefix("tcp://"), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode == 0
    # Its library may say something before.
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
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


# Our client, their server

SPEAKS_RPCX = ClientConfig(wire_protocol="rpcx")


@asynccontextmanager
async def go_server(program: str, token: str = "") -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run a server of Go, and yield its address."""
    process = await asyncio.create_subprocess_exec(
        program, "server", "127.0.0.1:0", token, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        while b"127.0.0.1:" not in (line := await process.stdout.readline()):
            assert line, "the server of Go ended"
        yield f"tcp://{line.decode().split()[-1]}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


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
        [before] = client._pool.sessions
        await asyncio.sleep(0.5)
        assert await client.call(Arith.Mul, Args(6, 7)) == Reply(42)
        assert client._pool.sessions == [before]


@fastrpc.service("Arith")
class SafeArith:
    """What both servers have; Go's may run twice."""

    @fastrpc.method(idempotent=True)
    async def Mul(self, args: Args) -> Reply:
        return Reply(args.A * args.B)


async def test_a_client_goes_on_with_ours_when_a_server_of_go_is_killed(go_rpcx: str) -> None:
    async with go_server(go_rpcx) as (theirs, process):
        async with Server(Arith(), config=ServerConfig(protocols=("native", "rpcx"))) as server:
            ours = await server.listen("tcp://127.0.0.1:0")
            async with Client([theirs, str(ours)], config=SPEAKS_RPCX) as client:
                failed = done = 0
                for number in range(2_000):
                    if number == 1_000:
                        process.kill()
                    try:
                        assert await client.call(SafeArith.Mul, Args(number, 2)) == Reply(2 * number)
                        done += 1
                    except UnavailableError:
                        failed += 1
    assert (done, failed) == (2_000, 0)

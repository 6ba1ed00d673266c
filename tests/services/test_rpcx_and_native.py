"""One service by servers of Go and of Python, listed in Consul's keys as rpcx has them, and one client."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Server, ServerConfig, UnavailableError
from tests.support.either_client import CLIENTS, connected
from tests.support.go_rpcx import go_server
from tests.support.program import Program
from tests.support.registry_servers import ConsulAgent
from tests.support.rpcx_arith import Args, Reply

pytestmark = pytest.mark.one_loop

#: The flags of rpcx's store library.
FLAGS = 0x2DDCCBC058A50C18

BOTH = ServerConfig(protocols=("native", "rpcx"))


@fastrpc.service("Arith")
class SafeArith:
    """The methods of both servers; Go's may run twice."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    @fastrpc.method(idempotent=True)
    async def Mul(self, args: Args) -> Reply:
        self.calls.append(fastrpc.current_call().peer.protocol)
        return Reply(args.A * args.B)


@asynccontextmanager
async def ours(arith: SafeArith, consul: ConsulAgent, base: str) -> AsyncIterator[None]:
    """Serve by both protocols, registered as rpcx registers."""
    registry = f"{consul.url}?layout=rpcx&base={base}"
    async with Server(arith, config=BOTH, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        yield


async def write_key(consul: ConsulAgent, base: str, target: str, value: str) -> None:
    """Write the key of a server of Go, as its plugin does."""
    path = f"/v1/kv/{base}/Arith/tcp@{target.removeprefix('tcp://')}?flags={FLAGS}"
    await asyncio.to_thread(consul.ask, path, method="PUT", data=value.encode())


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_client_follows_servers_of_both_languages(
    go_rpcx: str, consul: ConsulAgent, kind: str
) -> None:
    base, arith = f"mixed-{kind}", SafeArith()
    async with go_server(go_rpcx) as (theirs, process), ours(arith, consul, base):
        await write_key(consul, base, theirs, "weight=3")
        target = f"{consul.url}/Arith?layout=rpcx&base={base}"
        async with connected(kind, target, selector="weighted") as client:

            async def share(count: int = 40) -> int:
                """Return how many of these calls our server got."""
                before = len(arith.calls)
                for number in range(count):
                    assert await client.call(SafeArith.Mul, Args(number, 2)) == Reply(2 * number)
                return len(arith.calls) - before

            async def until_share(least: int, most: int) -> None:
                async with asyncio.timeout(30):
                    while not least <= await share() <= most:
                        await asyncio.sleep(0.1)

            # Of four calls Go gets three; both have to be connected first.
            await until_share(9, 11)
            assert set(arith.calls) == {"native"}
            await write_key(consul, base, theirs, "weight=3&state=inactive")
            await until_share(40, 40)
            await write_key(consul, base, theirs, "weight=1")
            await until_share(19, 21)
            # Calls are under way there when it dies.
            users = [asyncio.ensure_future(share()) for _ in range(8)]
            process.kill()
            await asyncio.gather(*users)
            assert await share() == 40


ARITH = """
import fastrpc


@fastrpc.service("Arith")
class Arith:
    @fastrpc.method(idempotent=True)
    async def Mul(self, args: dict[str, int]) -> dict[str, int]:
        return {"C": args["A"] * args["B"]}
"""


@asynccontextmanager
async def one_of_each(
    program: str, folder: Path
) -> AsyncIterator[tuple[list[str], dict[str, Callable[[], None]]]]:
    """Run a server of Go and one of Python; yield their addresses, and for each a function that kills it."""
    (folder / "arith.py").write_text(ARITH)
    words = ["-m", "fastrpc", "run", "arith:Arith", "--address", "tcp://127.0.0.1:0"]
    with Program(words, folder, {"FASTRPC_PROTOCOLS": "native,rpcx"}) as ours:
        address = ours.wait_output(r"serving at (\S+)")[1]
        async with go_server(program) as (theirs, process):
            kills = {"go": process.kill, "python": lambda: os.kill(ours.process_id, signal.SIGKILL)}
            yield [theirs, address], kills


killed_in_turn = pytest.mark.parametrize("killed", ["go", "python"])


@killed_in_turn
async def test_a_client_of_rpcx_alone_continues_when_a_server_is_killed(
    go_rpcx: str, tmp_path: Path, killed: str
) -> None:
    async with one_of_each(go_rpcx, tmp_path) as (addresses, kills):
        async with Client(addresses, config=ClientConfig(wire_protocol="rpcx")) as client:
            failed = done = 0
            for number in range(2_000):
                if number == 1_000:
                    kills[killed]()
                try:
                    assert await client.call(SafeArith.Mul, Args(number, 2)) == Reply(2 * number)
                    done += 1
                except UnavailableError:
                    failed += 1
    assert (done, failed) == (2_000, 0)


@killed_in_turn
async def test_a_client_of_go_fails_over_when_a_server_is_killed(
    go_rpcx: str, tmp_path: Path, killed: str
) -> None:
    async with one_of_each(go_rpcx, tmp_path) as (addresses, kills):
        places = ",".join(address.removeprefix("tcp://") for address in addresses)
        process = await asyncio.create_subprocess_exec(
            go_rpcx, "over", places, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(60):
                # The client reports each 500 calls.
                for is_before in (True, False, False, False):
                    assert (await process.stdout.readline()).strip().isdigit()
                    if is_before:
                        kills[killed]()
                process.stdin.close()
                *_, last = (await process.stdout.read()).splitlines()
                await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
    assert json.loads(last)["failed"] == []

"""Servers of ours that leave while tonic and grpc-go call them, and the cap that a server puts on a call."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import Int64Value

from fastrpc import Keepalive, Limits, Server, ServerConfig, Status
from tests.services.conftest import GRPC_PEERS
from tests.support.go_programs import GHZ
from tests.support.program import Program
from tests.support.running_workers import Running
from tests.support.source_tree import ROOT
from tests.support.sums import Sums
from tests.support.waiting import eventually

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

CHANNELS = 16
#: Calls of grpc-go in a second, and the seconds after which it ends if no signal does.
RATE, LONGEST = 1_000, 600

Leaving = Callable[[], Awaitable[None]]


@contextmanager
def workers(folder: Path) -> Iterator[Running]:
    """Serve `Sums` by four workers."""
    words = ["-m", "fastrpc", "run", "tests.support.sums:Sums", "-w", "4", "-a", "tcp://127.0.0.1:0"]
    environment = {"FASTRPC_PROTOCOLS": "native,grpc", "PYTHONPATH": str(ROOT)}
    with Program(words, folder, environment) as program:
        yield Running(program)


async def tonic_calls(path: str, address: str, leaving: Leaving) -> list[str]:
    """Keep calls of tonic going until the server has left; return the failures."""
    process = await asyncio.create_subprocess_exec(
        path, "load", address, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            await process.stdout.readline()
            reading = asyncio.ensure_future(process.stdout.read())
            await leaving()
            process.stdin.write(b"\n")
            lines = (await reading).decode().splitlines()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return lines[lines.index("over") + 1 :]


async def go_calls(folder: Path, address: str, leaving: Leaving) -> list[str]:
    """Do the same by ghz, which calls by grpc-go."""
    process = await ghz(
        folder,
        address,
        "Twice",
        f"--duration={LONGEST}s",
        "--duration-stop=wait",
        f"--rps={RATE}",
        f"--connections={CHANNELS}",
    )
    try:
        await leaving()
        process.send_signal(signal.SIGINT)
        report = await report_of(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    # By the signal, not by its time: it called for as long as the leaving took.
    assert report["endReason"] == "cancel"
    assert report["statusCodeDistribution"]["OK"] > CHANNELS
    return [f"{count} x {text}" for text, count in report["errorDistribution"].items()]


async def ghz(folder: Path, address: str, method: str, *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        folder / GHZ.names[0],
        f"--proto={GRPC_PEERS / 'sums.proto'}",
        f"--call=shop.v1.Sums.{method}",
        '--data={"value": 1}',
        f"--concurrency={CHANNELS}",
        *options,
        "--format=json",
        "--insecure",
        address,
        stdout=asyncio.subprocess.PIPE,
    )


async def report_of(process: asyncio.subprocess.Process) -> dict[str, Any]:
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    report: dict[str, Any] = json.loads(output)
    return report


async def keep_calling(request: pytest.FixtureRequest, peer: str, address: str, leaving: Leaving) -> Any:
    if peer == "tonic":
        return await tonic_calls(request.getfixturevalue("tonic_path"), address, leaving)
    return await go_calls(request.getfixturevalue("ghz_folder"), address, leaving)


@pytest.mark.parametrize("peer", ["tonic", "grpc_go"])
async def test_rolls_of_workers_fail_no_call(
    peer: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with workers(tmp_path) as serving:

        async def roll_twice() -> None:
            old = serving.workers()
            for _ in range(2):
                serving.roll()
                await asyncio.to_thread(serving.program.wait_errors, "new workers serve, the old ones drain")
                await eventually(lambda old=old: not any(Path(f"/proc/{one}").exists() for one in old))
                old = serving.workers()

        address = serving.address.removeprefix("tcp://")
        assert await keep_calling(request, peer, address, roll_twice) == []


@asynccontextmanager
async def serving(config: ServerConfig, *interceptors: Any) -> AsyncIterator[str]:
    async with Server(Sums(), config=config, interceptors=interceptors) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield f"127.0.0.1:{address.port}"


@pytest.mark.parametrize("peer", ["tonic", "grpc_go"])
async def test_connections_that_age_fail_no_call(peer: str, request: pytest.FixtureRequest) -> None:
    peers: set[Any] = set()

    async def note(call: Any, proceed: Any) -> Any:
        peers.add(call.peer.address)
        return await proceed(call)

    async def age() -> None:
        await eventually(lambda: len(peers) > 3 * CHANNELS)

    config = ServerConfig(protocols=("grpc",), keepalive=Keepalive(max_age=1.0))
    async with serving(config, note) as address:
        assert await keep_calling(request, peer, address, age) == []


CAPPED = ServerConfig(protocols=("grpc",), limits=Limits(longest_call=0.3))


async def test_the_cap_of_a_server_reaches_tonic(tonic_path: str) -> None:
    async with serving(CAPPED) as address:
        process = await asyncio.create_subprocess_exec(
            tonic_path, "wait", address, stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(60):
            output, _ = await process.communicate()
    assert int(output) == Status.DEADLINE_EXCEEDED


async def test_the_cap_of_a_server_reaches_grpc_go(ghz_folder: Path) -> None:
    async with serving(CAPPED) as address:
        report = await report_of(await ghz(ghz_folder, address, "Wait", "--total=16", "--timeout=0s"))
    assert report["statusCodeDistribution"] == {"DeadlineExceeded": 16}


async def test_the_cap_of_a_server_reaches_grpcio() -> None:
    async with serving(CAPPED) as address, grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_unary("/shop.v1.Sums/Wait")
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(Int64Value(value=1).SerializeToString())
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

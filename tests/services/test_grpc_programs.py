"""grpcurl and grpc-health-probe ask a server of ours, with nothing but its address."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Identity, Server, ServerConfig
from fastrpc.auth import Policy, StaticTokens
from tests.support.certificates import Authority
from tests.support.go_programs import GRPC_PROGRAMS
from tests.support.market import Market

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

GRPCURL, PROBE = GRPC_PROGRAMS.names

CONFIG = ServerConfig(protocols=("native", "grpc"))


@fastrpc.service("shop.v1.sums", grpc="pascal")
class Sums:
    @fastrpc.method
    async def add(self, a: int, b: int = 1) -> int:
        return a + b

    @fastrpc.method
    async def run(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        total = 0
        async for number in numbers:
            total += number
            yield total

    @fastrpc.method
    async def fail(self) -> None:
        raise fastrpc.CallError(fastrpc.Status.FAILED_PRECONDITION, "not today", details={"until": "monday"})


async def told(program: Path, *arguments: str) -> tuple[int, str]:
    """Run a program; return its exit code and all that it wrote."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def values_in(text: str) -> list[Any]:
    """Return the values of JSON that stand one after the other."""
    decoder, found = json.JSONDecoder(), []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found


async def test_services_are_listed_described_and_called(grpc_programs: Path) -> None:
    curl = grpc_programs / GRPCURL
    async with Server(Sums(), Market(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        place = f"127.0.0.1:{address.port}"
        _, listed = await told(curl, "-plaintext", place, "list")
        assert "shop.v1.Sums" in listed.split()
        # Of every service with all of its types.
        for name in listed.split():
            code, described = await told(curl, "-plaintext", place, "describe", name)
            assert code == 0, described
        call = [curl, "-plaintext", "-d"]
        assert await told(*call, '{"a": 2, "b": 3}', place, "shop.v1.Sums/Add") == (
            0,
            '{\n  "value": "5"\n}\n',
        )
        _, streamed = await told(*call, '{"value": 2}{"value": 3}', place, "shop.v1.Sums/Run")
        assert values_in(streamed) == [{"value": "2"}, {"value": "5"}]
        _, failed = await told(*call, "{}", place, "shop.v1.Sums/Fail")
        assert "FailedPrecondition" in failed
        assert "not today" in failed
        assert "monday" in failed
        _, state = await told(*call, "{}", place, "grpc.health.v1.Health/Check")
        assert values_in(state) == [{"status": "SERVING"}]


async def test_callers_see_over_tls_what_their_token_allows(grpc_programs: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tokens = StaticTokens({"secret": Identity("ada")})
    policy = Policy([{"who": ["ada"], "allow": ["shop.v1.sums.add", "fastrpc.reflection.*"]}])
    config = ServerConfig(protocols=("native", "grpc"), tls=authority.certificate().tls())
    async with Server(Sums(), config=config, authenticate=tokens, authorize=policy) as server:
        address = await server.listen("tls://127.0.0.1:0")
        place = f"localhost:{address.port}"
        curl = [grpc_programs / GRPCURL, "-insecure"]
        _, refused = await told(*curl, place, "list")
        assert "Unauthenticated" in refused
        allowed = [*curl, "-H", "authorization: Bearer secret"]
        _, described = await told(*allowed, place, "describe", "shop.v1.Sums")
        assert "Add" in described
        assert "Run" not in described
        _, listed = await told(*allowed, place, "list")
        assert "grpc.health.v1.Health" not in listed


async def test_the_probe_sees_health_until_the_drain(grpc_programs: Path) -> None:
    async with Server(Sums(), config=CONFIG) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        probe = [grpc_programs / PROBE, f"-addr=127.0.0.1:{address.port}"]
        assert (await told(*probe, "-service=shop.v1.Sums"))[0] == 0
        server.set_serving(False, service="shop.v1.sums")
        assert (await told(*probe))[0] == 0
        assert (await told(*probe, "-service=shop.v1.Sums"))[0] != 0

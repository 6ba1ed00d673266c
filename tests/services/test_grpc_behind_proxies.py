"""gRPC through Envoy, nginx (`grpc_pass`) and HAProxy, which share a connection to the server among their clients."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

import fastrpc
from fastrpc import HTTP, Client, OverloadedError, Server, ServerConfig, Timeouts, current_call
from fastrpc.limits import Addresses, RateLimit
from tests.support import front_proxies
from tests.support.ports import free_ports
from tests.support.raw_methods import Raw
from tests.support.sums import EXPECTED, Sums, called

pytestmark = [pytest.mark.one_loop, pytest.mark.conformance]

ECHO = "/test.v1.Raw/echo"


@fastrpc.service("who")
class Who:
    @fastrpc.method
    async def peer(self) -> str:
        return str(current_call().peer.address)


Front = Callable[[Path, int, Path], AbstractAsyncContextManager[None]]


@pytest.fixture(params=["envoy", "haproxy", "nginx"])
def front(request: pytest.FixtureRequest) -> Front:
    """Runs a proxy that appends the address of its client: of a folder, its port, and the place of the server."""
    program = request.getfixturevalue(request.param)

    def run(folder: Path, port: int, back: Path) -> AbstractAsyncContextManager[None]:
        settings = folder / "proxy.conf"
        if request.param == "envoy":
            return front_proxies.envoy(program, settings, port=port, back=back)
        options: dict[str, Any] = {"back": back, "is_reached": partial(front_proxies.reached, port)}
        if request.param == "haproxy":
            options |= {"front": f"127.0.0.1:{port} proto h2", "options": "proto h2"}
            return front_proxies.haproxy(program, settings, rule="option forwardfor", **options)
        rule = "grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        options |= {"front": f"127.0.0.1:{port} http2", "passes": front_proxies.BY_GRPC}
        return front_proxies.nginx(program, settings, rule=rule, **options)

    return run


@asynccontextmanager
async def behind(front: Front, folder: Path, *sources: Any, **options: Any) -> AsyncIterator[str]:
    """Serve behind a proxy, and yield the address of its front."""
    (port,), back = free_ports(1), folder / "back"
    config = ServerConfig(
        protocols=("grpc",), http=HTTP(trusted_proxies=("unix",)), timeouts=Timeouts(drain=5.0)
    )
    async with Server(*sources, config=config, **options) as server:
        await server.listen(f"unix://{back}")
        async with front(folder, port, back):
            yield f"127.0.0.1:{port}"


async def test_every_kind_of_call_passes(front: Front, tmp_path: Path) -> None:
    async with behind(front, tmp_path, Sums(), Raw()) as address, Client(f"grpc://{address}") as client:
        assert await called(client) == EXPECTED
        payload = bytes(range(256)) * 8_192
        assert await client.call("test.v1.Raw.echo", payload) == payload
        found = await asyncio.gather(*(client.call(Sums.twice, number) for number in range(300)))
        assert found == [2 * number for number in range(300)]


async def test_calls_of_grpcio_pass_and_their_failures(front: Front, tmp_path: Path) -> None:
    async with behind(front, tmp_path, Raw()) as address, grpc.aio.insecure_channel(address) as channel:
        echo, fail = channel.unary_unary(ECHO), channel.unary_unary("/test.v1.Raw/fail")
        assert await asyncio.gather(*(echo(b"%d" % number) for number in range(100))) == [
            b"%d" % number for number in range(100)
        ]
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await fail("grün".encode())
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "grün")
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await channel.unary_unary("/test.v1.Raw/wait")(b"", timeout=0.5)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_limits_and_edges_see_the_clients(front: Front, tmp_path: Path) -> None:
    limits = [RateLimit(0.001, burst=2, per="peer"), Addresses(deny=["10.0.0.0/8"])]
    async with behind(front, tmp_path, Who(), limits=limits) as address:
        async with Client(f"grpc://{address}") as client:
            # Envoy has an address of this machine for loopback.
            own = await client.call(Who.peer)
            assert own.startswith("tcp://1")
            assert own.endswith(":0")
            # A proxy appends: the client's own entry comes further left.
            spoofed = client.with_options(metadata={"x-forwarded-for": "10.0.0.9"}, fail_mode="failfast")
            assert await spoofed.call(Who.peer) == own
            with pytest.raises(OverloadedError, match="per peer"):
                await spoofed.call(Who.peer)

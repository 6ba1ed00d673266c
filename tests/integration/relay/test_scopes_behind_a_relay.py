"""A server at `any://` behind a relay: callers from other hosts reach it by the relay."""

import asyncio

import pytest

from fastrpc import Client, Server, ServerConfig
from fastrpc.discovery.any_registry import AnyRegistry
from fastrpc.registries import StaticRegistry
from tests.support.arith import Arith
from tests.support.host_folder import host_folder
from tests.support.relayed import RelayFiles, relaying


@pytest.mark.parametrize("nearest", ["host", "wan"])
async def test_calls_take_the_relay_where_no_scope_is_nearer(nearest: str, files: RelayFiles) -> None:
    registry = StaticRegistry()
    scopes = ("wan",) if nearest == "wan" else ("host", "wan")
    with host_folder():
        config = ServerConfig(tls=files.edge.tls())
        async with relaying(files) as relay, Server(Arith, registry=registry, config=config) as server:
            await server.listen("any://")
            await server.listen(relay.target() + files.options())
            [listed] = registry.watch("arith").latest.endpoints
            assert str(listed.address) == relay.target()
            async with (
                Client("arith", registry=AnyRegistry(scopes, wan=registry), config=files.client) as client,
                asyncio.timeout(20),
            ):
                # The first connection may be the farther one.
                while (reply := await client.request(Arith.mul, 6, 7)).endpoint.labels["scope"] != nearest:
                    assert reply.value == 42
    assert reply.value == 42

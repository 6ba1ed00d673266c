"""`fastrpc console` over Consul and etcd, both layouts: a registry that is killed and starts again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, Server, ServerConfig
from tests.support.viewed import Viewed, viewed

pytestmark = pytest.mark.one_loop


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def where(self) -> int:
        return 1


async def calls_of(console: Viewed, place: str) -> int:
    """Return how many calls of the method a server has served, in this process so far."""
    rows = await console.rows("methods since it started", "server", server=place, search="where")
    return sum(row["calls"] for row in rows if row["side"] == "server")


@pytest.mark.parametrize("registry", ["consul", "consul?layout=rpcx", "etcd", "etcd?layout=rpcx"])
async def test_a_server_stays_in_view_while_its_registry_is_away(
    registry: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    name, _, options = registry.partition("?")
    kept: Any = request.getfixturevalue(f"own_{name}")
    url = f"{kept.url}?{options}" if options else kept.url
    config = ServerConfig(admin_address="tcp://127.0.0.1:0")
    async with Server(Work(), registry=url, config=config) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert server.admin.address is not None
        place = f"tcp://127.0.0.1:{server.admin.address.port}"
        listed: dict[str, list[Any]] = {"service": ["work"], "up": [1], "endpoints": [1]}
        async with viewed(tmp_path, "--registry", url) as console, Client(address) as client:
            await console.until("services", "services", listed)
            kept.kill()
            await console.until_error(is_there=True)
            # Its record is known, and its figures are read as usual.
            before = await calls_of(console, place)
            for _ in range(20):
                await client.call(Work.where)
            async with asyncio.timeout(60):
                while await calls_of(console, place) != before + 20:
                    await asyncio.sleep(0.1)
            assert [row["up"] for row in await console.rows("services", "services")] == [1]
            kept.start()
            await console.until_error(is_there=False)
            await console.until("services", "services", listed)
            events = [row["event"] for row in await console.rows("events", "console")]
            assert [one for one in events if one.startswith("registry")] == ["registry back", "registry lost"]

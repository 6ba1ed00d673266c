"""The records of a server name its admin pages: in one process, and with workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Server, ServerConfig
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.registries import open_registry
from tests.support.arith import Arith
from tests.support.worker_pages import worker_pages

pytestmark = pytest.mark.one_loop


@asynccontextmanager
async def registry_url() -> AsyncIterator[str]:
    async with Server(RegistryService()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        yield str(address).replace("tcp://", "registry://")


async def labels_of(url: str, service: str) -> list[Any]:
    """Return the label of each record, once there is one."""
    registry = open_registry(url)
    try:
        async with asyncio.timeout(20), registry.watch(service) as watch:
            async for snapshot in watch:
                if snapshot.endpoints:
                    return [one.labels.get("admin") for one in snapshot.endpoints]
    finally:
        await registry.aclose()
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("advertise", [None, False, "tls://pages.example:443"])
async def test_a_record_names_the_pages_of_its_server(advertise: str | bool | None) -> None:
    config = ServerConfig(admin_address="tcp://127.0.0.1:0", admin_advertise=advertise)
    async with registry_url() as url, Server(Arith(), config=config, registry=url) as server:
        await server.listen("tcp://127.0.0.1:0")
        wanted = str(server.admin.address) if advertise is None else advertise or None
        assert await labels_of(url, "arith") == [wanted]


async def test_with_workers_the_record_names_the_pages_of_all(tmp_path: Path) -> None:
    async with registry_url() as url, AsyncExitStack() as stack:
        program = worker_pages(tmp_path, 2, f'{{"registry": "{url}"}}')
        # In a thread: its registry is on this loop, and so it is at its end.
        serving = await asyncio.to_thread(program.__enter__)
        stack.push_async_callback(asyncio.to_thread, program.__exit__, None, None, None)
        assert await labels_of(url, "work") == [f"tcp://127.0.0.1:{serving.port}"]

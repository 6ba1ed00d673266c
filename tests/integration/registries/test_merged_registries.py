"""A list of registries wherever one is taken: servers register in all, clients use the union of their lists."""

import asyncio

import pytest

from fastrpc import App, Client, Server, ServerConfig, Services, SyncClient, SyncServices
from fastrpc.registries import StaticRegistry
from fastrpc.registries.base.backed import BackedRegistry
from tests.support.admin_pages import page
from tests.support.fake_registry import FakeBackend, FakeLease, away
from tests.support.served import served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = [pytest.mark.one_loop, pytest.mark.asyncio]


async def test_server_registers_in_all_and_clients_find_it_in_any() -> None:
    registries = StaticRegistry(), StaticRegistry()
    async with Server(Who("a"), registry=registries) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        assert [one.services() for one in registries] == [["who"], ["who"]]
        async with Client("who", registry=[StaticRegistry(), registries[1]]) as client:
            assert str((await client.request(Who.once)).endpoint) == str(address)
    assert [one.services() for one in registries] == [[], []]


async def test_clients_use_the_union() -> None:
    async with served(Who("a"), scheme="tcp") as first, served(Who("b"), scheme="tcp") as second:
        registries = StaticRegistry([first]), f"static://{second.removeprefix('tcp://')}"
        async with Client("who", registry=registries) as client:
            assert {await client.call(Who.once) for _ in range(4)} == {"a", "b"}
            registries[0].update("who", [])
            await eventually(lambda: client.stats()["live"]["connections"] == 1)
            assert {await client.call(Who.once) for _ in range(4)} == {"b"}

        def ask() -> set[str]:
            with SyncClient("who", registry=registries) as client:
                return {client.call(Who.once) for _ in range(4)}

        registries[0].update("who", [first])
        assert await asyncio.to_thread(ask) == {"a", "b"}


async def test_services_are_found_in_any() -> None:
    async with served(Who("a"), scheme="tcp") as target:
        registries = [StaticRegistry({"arith": []}), StaticRegistry({"who": [target]})]
        async with Services(registries) as services:
            assert await services.call(Who.once) == "a"

        def ask() -> str:
            with SyncServices(registries) as services:
                return services.call(Who.once)

        assert await asyncio.to_thread(ask) == "a"


async def test_server_is_ready_once_one_registry_has_its_records() -> None:
    leases = FakeLease(), FakeLease()
    for lease in leases:
        lease.trouble = away()
    registries = [BackedRegistry(FakeBackend(lease), f"fake://{n}") for n, lease in enumerate(leases)]
    config = ServerConfig(admin_address="tcp://127.0.0.1:0", ready_needs_registry=True)
    async with Server(Who("a"), config=config, registry=registries) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert (await page(server, "/readyz")).status == 503
        leases[1].trouble = None
        async with asyncio.timeout(20):
            while (await page(server, "/readyz")).status != 200:
                await asyncio.sleep(0.05)
    for one in registries:
        await one.aclose()


async def test_app_takes_a_list() -> None:
    app = App([Who("a")], registry=["static://127.0.0.1:1", "static://127.0.0.1:2"])
    assert "127.0.0.1" not in repr(app)

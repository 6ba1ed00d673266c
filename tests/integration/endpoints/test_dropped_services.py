"""Addresses and services that are no longer used leak nothing; the same for `Services` and `SyncServices`."""

import asyncio
import gc
from typing import Any

import pytest

import fastrpc
from fastrpc.registries import StaticRegistry
from tests.support.either_client import CLIENTS, many_services
from tests.support.shops import shops
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

either = pytest.mark.parametrize("kind", CLIENTS)


def places(services: Any) -> int:
    """Return the number of addresses that are known."""
    home = getattr(services, "client", services)._home
    shared = home.connections if hasattr(home, "connections") else home.sessions
    return len(shared.places._places)


def names(services: Any) -> set[str]:
    """Return the names of the services with a client."""
    tenants = getattr(services, "client", services)._tenants
    gc.collect()
    return {str(client._pool.target) for client in tenants.clients}


@either
async def test_addresses_that_were_never_reached_are_forgotten(kind: str) -> None:
    registry = StaticRegistry({"shop.s0": [], "shop.s1": []})
    async with many_services(kind, registry) as services:
        for port in range(1, 20):
            for name in ("shop.s0", "shop.s1"):
                registry.update(name, [f"tcp://127.0.0.1:{port}"])
                with pytest.raises(fastrpc.UnavailableError):
                    await services.call(f"{name}.number")
        assert places(services) <= 2
        await services["shop.s0"].close()
        await services["shop.s1"].close()
        assert places(services) == 0


@either
async def test_an_address_that_left_is_forgotten_once_its_calls_have_ended(kind: str) -> None:
    async with shops(1, servers=2) as served:
        registry = StaticRegistry({"shop.s0": served.targets[:1]})
        async with many_services(kind, registry) as services:
            held = asyncio.create_task(services.call("shop.s0.held"))
            await served.sources[0].is_waiting.wait()
            registry.update("shop.s0", served.targets[1:])
            async with asyncio.timeout(20):
                # On a loop a call may come before the list.
                while str((await services.request("shop.s0.number")).endpoint) != served.targets[1]:
                    await asyncio.sleep(0)
            served.sources[0].may_go_on.set()
            assert await held == 0
            await eventually(lambda: places(services) == 1)


async def test_a_service_does_not_rest_before_the_turn_of_a_call_that_was_woken() -> None:
    async with shops(1) as served, many_services("async", served.registry) as services:
        call = asyncio.create_task(services.call("shop.s0.number"))
        pool = services["shop.s0"]._pool
        async with asyncio.timeout(20):
            while not (pool.subchannels and pool.has_waiting):
                await asyncio.sleep(0)
        pool.changed()
        assert pool.has_waiting
        assert await call == 0
        assert not pool.has_waiting


@either
async def test_the_client_of_a_service_without_calls_is_dropped(kind: str) -> None:
    async with shops(4) as served, many_services(kind, served.registry, idle_seconds=0.05) as services:
        held, view = services["shop.s1"], services["shop.s2"].with_options(timeout=20)
        options = services.with_options(timeout=20)
        for name in served.names:
            await options.call(f"{name}.number")
        calls = len(served.names)
        async with asyncio.timeout(20):
            while names(services) != {"shop.s0", "shop.s1", "shop.s2"}:
                # A SyncServices looks while it is called.
                await services.call("shop.s0.number")
                calls += 1
        # Clients that the program holds stay, and call their own services.
        assert await held.call("shop.s1.plus", 1) == 2
        assert await view.call("shop.s2.plus", 1) == 3
        assert await services.call("shop.s3.plus", 1) == 4
        assert names(services) == set(served.names)
        assert services.stats()["totals"]["calls"] == calls + 3
    for use in (held.call("shop.s1.number"), view.call("shop.s2.number")):
        with pytest.raises(fastrpc.UnavailableError, match="the client is closed"):
            await use

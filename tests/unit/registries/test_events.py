"""The events of a registry: of all services, as they come and go, and of its outages."""

import asyncio
from contextlib import aclosing
from typing import Any

import pytest

from fastrpc import Endpoint, Server
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.errors import ConfigError
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.registries.base.backed import BackedRegistry
from fastrpc.registries.base.events import RegistryEvent, events
from tests.support.fake_registry import FakeBackend, FakeLookup, away, entries, refused

pytestmark = pytest.mark.one_loop

ONE, TWO = (Endpoint(f"tcp://10.0.0.1:{port}") for port in (1, 2))
HEAVY = Endpoint(ONE.address, weight=9)


async def taken(found: Any, count: int) -> list[RegistryEvent]:
    async with asyncio.timeout(20):
        return [await anext(found) for _ in range(count)]


def told(found: list[RegistryEvent]) -> list[tuple[str, str, Endpoint | None, Endpoint | None]]:
    return [(one.kind, one.service, one.endpoint, one.before) for one in found]


async def test_present_endpoints_come_first_then_each_change() -> None:
    registry = StaticRegistry({"arith": [ONE]})
    async with aclosing(events(registry, "arith")) as found:
        assert told(await taken(found, 1)) == [("added", "arith", ONE, None)]
        registry.update("arith", [HEAVY, TWO])
        assert told(await taken(found, 2)) == [
            ("changed", "arith", HEAVY, ONE),
            ("added", "arith", TWO, None),
        ]
        registry.close()
        assert [one async for one in found] == []


async def test_services_are_followed_as_they_come_and_go() -> None:
    async with Server(RegistryService()) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        registry = open_registry(str(address).replace("tcp://", "registry://"))
        async with (
            registry,
            aclosing(events(registry, is_shown=lambda name: not name.startswith("hidden"))) as found,
        ):
            for _ in range(2):
                async with registry.register("hidden", ONE), registry.register("arith", ONE):
                    assert told(await taken(found, 1)) == [("added", "arith", ONE, None)]
                    async with registry.register("users", TWO):
                        assert told(await taken(found, 1)) == [("added", "users", TWO, None)]
                    assert told(await taken(found, 1)) == [("removed", "users", TWO, None)]
                assert told(await taken(found, 1)) == [("removed", "arith", ONE, None)]


async def test_an_outage_is_reported_once_with_its_reason_and_its_end() -> None:
    lookup = FakeLookup(entries(1))
    backend = FakeBackend()
    backend.open_lookup = lambda service: lookup  # type: ignore[method-assign]
    registry = BackedRegistry(backend, "fake://")
    async with aclosing(events(registry, "arith")) as found:
        assert [one.kind for one in await taken(found, 1)] == ["added"]
        lookup.answers = [away()]
        [lost] = await taken(found, 1)
        assert (lost.kind, lost.endpoint, lost.reason) == ("lost", None, "connection refused")
        lookup.answers = [entries(1, 2)]
        assert {one.kind for one in await taken(found, 2)} == {"back", "added"}
    await registry.aclose()


async def test_a_refusal_is_reported_as_an_outage() -> None:
    backend = FakeBackend()
    backend.open_lookup = lambda service: FakeLookup(refused())  # type: ignore[method-assign]
    registry = BackedRegistry(backend, "fake://")
    async with aclosing(events(registry, "arith")) as found:
        [lost] = await taken(found, 1)
        assert (lost.kind, lost.reason) == ("lost", "no such permission")
    await registry.aclose()


async def test_a_registry_that_cannot_list_its_services_is_refused() -> None:
    backend = FakeBackend()
    backend.names = ConfigError("it cannot list its services")
    registry = BackedRegistry(backend, "fake://")
    async with aclosing(events(registry)) as found:
        with pytest.raises(ConfigError, match="it cannot list its services"):
            await taken(found, 1)
    await registry.aclose()


async def test_a_reader_that_leaves_ends_all_watches() -> None:
    registry = StaticRegistry({"arith": [ONE], "users": [TWO]})
    async with aclosing(events(registry)) as found:
        assert {one.service for one in await taken(found, 2)} == {"arith", "users"}
        begun = asyncio.all_tasks()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) < len(begun)
    registry.close()

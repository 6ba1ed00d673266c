"""`fastrpc.health` and `set_serving`: the health that a server reports, and its record in the registry."""

import asyncio
from typing import Any

import pytest

import fastrpc
from fastrpc import CallError, Client, ConfigError, Server, ServerConfig, Status, Timeouts
from fastrpc.registries import StaticRegistry
from tests.support.served import served
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def until_drained(self) -> None:
        await fastrpc.current_call().draining


@fastrpc.service("users")
class Users:
    @fastrpc.method
    async def name(self) -> str:
        return "Ann"


async def check(client: Client, *service: str) -> Any:
    return await client.call("fastrpc.health.check", *service)


def names(registry: StaticRegistry) -> set[str]:
    """Return the services that somebody serves."""
    found = set()
    for service in ("arith", "users"):
        with registry.watch(service) as watch:
            if watch.latest is not None and watch.latest.endpoints:
                found.add(service)
    return found


async def test_server_and_services_are_serving_from_the_start() -> None:
    async with served(Arith) as target, Client(target) as client:
        assert await check(client) == await check(client, "arith") == "SERVING"
        assert await check(client, "fastrpc.health") == "SERVING"


async def test_missing_service_is_unknown() -> None:
    async with served(Arith) as target, Client(target) as client:
        assert await check(client, "users") == "SERVICE_UNKNOWN"


async def test_one_service_may_say_that_it_is_not_serving() -> None:
    async with served(Arith, Users) as target, Client(target) as client:
        target.server.set_serving(False, service="arith")
        assert await check(client, "arith") == "NOT_SERVING"
        assert await check(client) == await check(client, "users") == "SERVING"
        target.server.set_serving(True, service="arith")
        assert await check(client, "arith") == "SERVING"


async def test_server_that_is_not_serving_says_so_for_every_service() -> None:
    async with served(Arith) as target, Client(target) as client:
        target.server.set_serving(False)
        assert await check(client) == await check(client, "arith") == "NOT_SERVING"
        assert await check(client, "users") == "SERVICE_UNKNOWN"
        target.server.set_serving(True)
        assert await check(client) == await check(client, "arith") == "SERVING"


async def test_the_set_health_of_a_service_is_kept_when_the_server_serves_again() -> None:
    async with served(Arith) as target, Client(target) as client:
        target.server.set_serving(False, service="arith")
        target.server.set_serving(False)
        target.server.set_serving(True)
        assert await check(client, "arith") == "NOT_SERVING"


async def test_calls_are_served_all_the_same() -> None:
    async with served(Arith) as target, Client(target) as client:
        target.server.set_serving(False)
        assert await client.call(Arith.mul, 6, 7) == 42


async def test_health_may_be_set_before_the_server_starts() -> None:
    server = Server(Arith)
    server.set_serving(False)
    async with server:
        async with Client(str(await server.listen("memory://health"))) as client:
            assert await check(client, "arith") == "NOT_SERVING"


async def test_name_that_is_no_service_of_it_is_refused() -> None:
    async with served(Arith) as target:
        with pytest.raises(ConfigError, match="no service 'arit'.*did you mean 'arith'"):
            target.server.set_serving(False, service="arit")


async def test_server_that_drains_is_not_serving() -> None:
    config = ServerConfig(timeouts=Timeouts(announce=1.0))
    async with served(Arith, config=config) as target, Client(target) as client:
        assert await check(client) == "SERVING"
        drain = asyncio.create_task(target.server.drain())
        await eventually(lambda: target.server.is_draining)
        assert await check(client) == await check(client, "arith") == "NOT_SERVING"
        assert await drain is True


async def test_health_is_told_where_services_are_not() -> None:
    async with served(Arith, config=ServerConfig(reflection=False)) as target, Client(target) as client:
        assert await check(client) == "SERVING"


async def test_health_passes_the_interceptors_like_any_call() -> None:
    async def refuse(call: Any, proceed: Any) -> Any:
        raise CallError(Status.PERMISSION_DENIED, f"not {call.method}")

    async with served(Arith, interceptors=[refuse]) as target, Client(target) as client:
        with pytest.raises(CallError, match=r"not fastrpc\.health\.check"):
            await check(client)


async def test_a_service_that_is_not_serving_leaves_the_registry_and_comes_back() -> None:
    registry = StaticRegistry()
    async with Server(Arith, Users, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert names(registry) == {"arith", "users"}
        server.set_serving(False, service="arith")
        await eventually(lambda: names(registry) == {"users"})
        server.set_serving(False)
        await eventually(lambda: names(registry) == set())
        server.set_serving(True)
        await eventually(lambda: names(registry) == {"users"})
        server.set_serving(True, service="arith")
        await eventually(lambda: names(registry) == {"arith", "users"})


async def test_server_that_is_not_serving_yet_listens_without_being_registered() -> None:
    registry = StaticRegistry()
    server = Server(Arith, registry=registry)
    server.set_serving(False)
    async with server:
        await server.listen("tcp://127.0.0.1:0")
        assert names(registry) == set()
        server.set_serving(True)
        await eventually(lambda: names(registry) == {"arith"})


async def test_serving_again_does_not_register_a_server_that_leaves() -> None:
    registry = StaticRegistry()
    config = ServerConfig(timeouts=Timeouts(announce=0.1))
    async with Server(Arith, config=config, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        server.set_serving(False)
        drain = asyncio.create_task(server.drain())
        await eventually(lambda: server.is_draining)
        server.set_serving(True)
        assert await drain is True
        assert names(registry) == set()

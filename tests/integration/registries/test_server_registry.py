"""Servers that register: when, at which address, and that a registry never keeps them from serving."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ConfigError, Endpoint, Server, ServerConfig, StoreError, Timeouts
from fastrpc.coordination import RegistryServer, RegistryService
from fastrpc.endpoint import Address
from fastrpc.registries import StaticRegistry, open_registry
from fastrpc.status import Status
from fastrpc.transports.base import transport_for
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith", version="1.4")
class Arith:
    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def until_drained(self) -> bool:
        await fastrpc.current_call().draining
        return True


@fastrpc.service("users")
class Users:
    @fastrpc.method
    async def name(self) -> str:
        return "Ann"


class RefusingRegistry(StaticRegistry):
    """Refuses every registration."""

    def register(self, service: str, endpoint: Endpoint) -> Any:
        raise StoreError("no such permission", status=Status.PERMISSION_DENIED)


class MoodyRegistry(StaticRegistry):
    """A registry that refuses while the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.is_refusing = False
        self.refusals = 0

    def register(self, service: str, endpoint: Endpoint) -> Any:
        if self.is_refusing:
            self.refusals += 1
            raise StoreError("no such permission", status=Status.PERMISSION_DENIED)
        return super().register(service, endpoint)


class StubbornRegistry(StaticRegistry):
    """Lets nobody leave without an error."""

    def register(self, service: str, endpoint: Endpoint) -> Any:
        @contextlib.asynccontextmanager
        async def registered() -> AsyncIterator[None]:
            yield
            raise OSError("no route to the registry")

        return registered()


class HeldRegistry(StaticRegistry):
    """Lets nobody leave before it is allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.is_allowed = asyncio.Event()

    def register(self, service: str, endpoint: Endpoint) -> Any:
        @contextlib.asynccontextmanager
        async def registered() -> AsyncIterator[None]:
            yield
            self.is_asked.set()
            await self.is_allowed.wait()

        return registered()


def listed(registry: StaticRegistry, service: str) -> list[Endpoint]:
    with registry.watch(service) as watch:
        assert watch.latest is not None
        return list(watch.latest.endpoints)


def places(registry: StaticRegistry, service: str) -> list[str]:
    return [str(endpoint) for endpoint in listed(registry, service)]


async def test_every_service_is_registered_at_the_bound_address_while_it_listens() -> None:
    registry = StaticRegistry()
    async with Server(Arith, Users, registry=registry) as server:
        assert places(registry, "arith") == []
        address = await server.listen("tcp://127.0.0.1:0")
        assert places(registry, "arith") == places(registry, "users") == [str(address)]
    assert places(registry, "arith") == places(registry, "users") == []


async def test_built_in_services_are_not_registered() -> None:
    registry = StaticRegistry()
    async with Server(RegistryService(), registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert places(registry, "fastrpc.registry") == places(registry, "fastrpc.reflection") == []


async def test_record_states_version_and_protocols_of_the_server() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        (endpoint,) = listed(registry, "arith")
    assert (endpoint.version, endpoint.protocols) == ("1.4", ("native",))


async def test_another_address_may_be_advertised() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        address = await server.listen("tcp://0.0.0.0:0", advertise="tcp://10.0.0.7:8972")
        assert address.host == "0.0.0.0"
        assert places(registry, "arith") == ["tcp://10.0.0.7:8972"]


async def test_port_0_in_an_advertised_address_stands_for_the_bound_port() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        address = await server.listen("tcp://0.0.0.0:0", advertise="tcp://10.0.0.7:0")
        assert places(registry, "arith") == [f"tcp://10.0.0.7:{address.port}"]


async def test_an_endpoint_may_be_advertised() -> None:
    registry = StaticRegistry()
    wanted = Endpoint("tcp://10.0.0.7:1", weight=3, zone="eu-1a", labels={"group": "blue"}, version="9")
    async with Server(Arith, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0", advertise=wanted)
        (found,) = listed(registry, "arith")
    assert (found.address, found.weight, found.zone) == (wanted.address, 3, "eu-1a")
    assert (dict(found.labels), found.version) == ({"group": "blue"}, "9")


async def test_an_address_may_stay_out_of_the_registry(tmp_path: Path) -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        await server.listen(f"unix://{tmp_path / 's'}", advertise=False)
        address = await server.listen("tcp://127.0.0.1:0")
        assert places(registry, "arith") == [str(address)]


async def test_every_address_is_registered() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        both = [await server.listen("tcp://127.0.0.1:0") for _ in range(2)]
        assert places(registry, "arith") == sorted(map(str, both))


async def test_service_added_later_is_registered_too() -> None:
    registry = StaticRegistry()
    async with Server(Arith, registry=registry) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        server.add(Users())
        await eventually(lambda: places(registry, "users") == [str(address)])


@pytest.mark.measures
async def test_a_server_leaves_the_registry_before_it_notifies_clients_and_waits_between() -> None:
    registry = StaticRegistry()
    config = ServerConfig(timeouts=Timeouts(announce=0.3))
    loop = asyncio.get_running_loop()
    async with Server(Arith, config=config, registry=registry) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            until_drained = asyncio.create_task(client.call(Arith.until_drained))
            await eventually(lambda: server.stats()["live"]["calls"] == 1)
            drain = asyncio.create_task(server.drain())
            await eventually(lambda: places(registry, "arith") == [])
            left_at = loop.time()
            assert await client.call(Arith.mul, 6, 7) == 42
            assert not until_drained.done()
            assert await until_drained is True
            assert loop.time() - left_at >= 0.25
        assert await drain is True


async def test_clients_are_not_told_before_the_registry_was() -> None:
    registry = HeldRegistry()
    async with Server(Arith, registry=registry) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            until_drained = asyncio.create_task(client.call(Arith.until_drained))
            await eventually(lambda: server.stats()["live"]["calls"] == 1)
            drain = asyncio.create_task(server.drain())
            await registry.is_asked.wait()
            assert await client.call(Arith.mul, 6, 7) == 42
            assert not until_drained.done()
            registry.is_allowed.set()
            assert await until_drained is True
        assert await drain is True


async def test_closing_takes_it_out_as_well() -> None:
    registry = StaticRegistry()
    server = Server(Arith, registry=registry)
    await server.listen("tcp://127.0.0.1:0")
    await server.close()
    assert places(registry, "arith") == []


async def test_a_closed_server_is_not_registered_again() -> None:
    registry = StaticRegistry()
    server = Server(Arith, registry=registry)
    await server.listen("tcp://127.0.0.1:0")
    await server.close()
    # As a health check of its services may do.
    server.set_serving(True)
    for _ in range(100):
        await asyncio.sleep(0)
    assert places(registry, "arith") == []


@pytest.mark.parametrize("address", ["consul://h:8500", "tcp://h:1/path"])
async def test_an_address_that_no_client_can_dial_is_not_registered(address: str) -> None:
    async with Server(Arith, registry="registry://127.0.0.1:1") as server:
        with pytest.raises(ConfigError, match="is not the address of a server"):
            await server.listen("tcp://127.0.0.1:0", advertise=address)


async def test_listening_everywhere_needs_an_address_to_advertise() -> None:
    async with Server(Arith, registry="registry://127.0.0.1:1") as server:
        with pytest.raises(ConfigError, match=r"no client can dial it .*advertise=") as refused:
            await server.listen("tcp://0.0.0.0:0")
        assert "tcp://0.0.0.0:" in str(refused.value)
        assert "no address yet" in repr(server)


async def test_a_registry_that_refuses_is_reported_and_nothing_listens() -> None:
    async with Server(Arith, registry=RefusingRegistry()) as server:
        with pytest.raises(StoreError, match="no such permission"):
            await server.listen("memory://refused")
        # The name is free again.
        async with Server(Arith) as other:
            await other.listen("memory://refused")


async def test_registered_records_are_withdrawn_when_another_record_is_refused() -> None:
    class OnlyArith(StaticRegistry):
        def register(self, service: str, endpoint: Endpoint) -> Any:
            if service != "arith":
                raise StoreError("no such permission", status=Status.PERMISSION_DENIED)
            return super().register(service, endpoint)

    registry = OnlyArith()
    async with Server(Arith, Users, registry=registry) as server:
        with pytest.raises(StoreError, match="no such permission"):
            await server.listen("tcp://127.0.0.1:0")
        await eventually(lambda: places(registry, "arith") == [])


async def test_a_registry_that_refuses_later_on_is_asked_again_until_it_does_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = MoodyRegistry()
    async with Server(Arith, registry=registry) as server:
        await server.listen("memory://moody")
        registry.is_refusing = True
        server.set_serving(False)
        await eventually(lambda: listed(registry, "arith") == [])
        server.set_serving(True)
        await eventually(lambda: registry.refusals > 1)
        registry.is_refusing = False
        await eventually(lambda: len(listed(registry, "arith")) == 1)
    assert listed(registry, "arith") == []
    refusals = [record for record in caplog.records if "refuses the registration" in record.getMessage()]
    assert len(refusals) == 1


async def test_a_server_leaves_although_its_registry_refuses_it() -> None:
    registry = MoodyRegistry()
    async with Server(Arith, registry=registry) as server:
        await server.listen("memory://moody")
        registry.is_refusing = True
        server.add(Users())
        await eventually(lambda: registry.refusals)
        async with asyncio.timeout(20):
            assert await server.drain() is True
    assert listed(registry, "arith") == []


@pytest.mark.parametrize("leave", [Server.drain, Server.close])
async def test_address_that_is_bound_once_the_server_has_left_is_freed(
    monkeypatch: pytest.MonkeyPatch, leave: Callable[[Server], Awaitable[object]]
) -> None:
    is_asked, is_allowed = asyncio.Event(), asyncio.Event()

    class Slow:
        """Binds an address late."""

        async def listen(self, address: Address, *arguments: Any, **options: Any) -> Any:
            is_asked.set()
            await is_allowed.wait()
            return await transport_for(address).listen(address, *arguments, **options)

    registry = StaticRegistry()
    with monkeypatch.context() as patched:
        patched.setattr("fastrpc.server.accepting.transport_for", lambda address: Slow())
        server = Server(Arith, registry=registry)
        listening = asyncio.create_task(server.listen("memory://late"))
        await is_asked.wait()
        await leave(server)
        is_allowed.set()
        with pytest.raises(RuntimeError, match="make a new one"):
            await listening
    assert listed(registry, "arith") == []
    # The name is free again.
    async with Server(Arith) as other:
        await other.listen("memory://late")


async def test_leaving_does_not_depend_on_the_registry(caplog: pytest.LogCaptureFixture) -> None:
    async with Server(Arith, registry=StubbornRegistry()) as server:
        await server.listen("tcp://127.0.0.1:0")
        assert await server.drain() is True
    assert "could not be taken out of the registry" in caplog.text


@pytest.mark.parametrize("registry", ["consul", "nothing://here:1", 5, object()])
def test_a_wrong_registry_is_refused_when_the_server_is_made(registry: Any) -> None:
    with pytest.raises(ConfigError):
        Server(Arith, registry=registry)


async def test_registry_object_stays_its_owners() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as embedded:
        registry = open_registry(embedded.url)
        for _ in range(2):
            async with Server(Arith, registry=registry) as server:
                await server.listen("tcp://127.0.0.1:0")
                async with Client(embedded.address) as client:
                    assert await client.call(RegistryService.services) == {"arith": 1}
        await registry.aclose()


async def test_registry_given_by_url_is_closed_with_the_server() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as embedded:
        async with Server(Arith, registry=embedded.url) as server:
            await server.listen("tcp://127.0.0.1:0")
            await eventually(lambda: embedded.stats()["live"]["connections"] == 1)
        await eventually(lambda: embedded.stats()["live"]["connections"] == 0)


async def test_server_serves_while_the_registry_is_away_and_registers_once_it_is_back() -> None:
    async with RegistryServer("tcp://127.0.0.1:0") as first:
        place = first.address
        url = first.url
    async with Server(Arith, registry=url) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address)) as client:
            assert await client.call(Arith.mul, 6, 7) == 42
        for _ in range(2):
            # Each time it comes back with nothing.
            async with RegistryServer(place), Client(place) as asking, asyncio.timeout(20):
                while await asking.call(RegistryService.services) != {"arith": 1}:
                    await asyncio.sleep(0.01)


@pytest.mark.measures
async def test_drain_does_not_wait_for_a_registry_that_went_away() -> None:
    loop = asyncio.get_running_loop()
    async with RegistryServer("tcp://127.0.0.1:0") as embedded:
        server = Server(Arith, registry=embedded.url)
        await server.listen("tcp://127.0.0.1:0")
    began = loop.time()
    assert await server.drain() is True
    assert loop.time() - began < 4.0

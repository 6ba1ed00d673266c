"""One client for many services: names, views, idle services, errors; the same for `Services` and `SyncServices`."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConfigError, Endpoint, Services, SyncClient, SyncServices
from fastrpc.config import Pool, Probes
from fastrpc.registries import StaticRegistry
from fastrpc.selectors import LeastLoaded, Random
from tests.support.either_client import CLIENTS, many_services
from tests.support.shops import shops
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

either = pytest.mark.parametrize("kind", CLIENTS)
KINDS = [Services, SyncServices]


@either
async def test_each_verb_finds_the_service_of_its_method(kind: str) -> None:
    async with shops(2) as served, many_services(kind, served.registry) as services:
        first, second = map(type, served.sources)
        assert await services.call(first.plus, 6) == 6
        assert await services.call("shop.s1.plus", 6) == 7
        assert await services.call(served.sources[1].plus, more=6) == 7
        assert (await services.request(second.number)).value == 1
        assert await services.call_many(second.plus, [(1,), (2,)], return_exceptions=True) == [2, 3]
        assert await services.notify(first.number) is None
        assert [each.value for each in (await services.broadcast(first.number)).values()] == [0]
        async with services.stream(second.count, 3) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]


@either
async def test_a_function_and_a_proxy_have_a_service(kind: str) -> None:
    @fastrpc.function("math.mul")
    async def mul(a: int, b: int) -> int:
        return a * b

    async with fastrpc.Server(mul) as server:
        registry = StaticRegistry([await server.listen("tcp://127.0.0.1:0")])
        async with many_services(kind, registry) as services:
            assert await services.call(mul, 6, 7) == 42
    async with shops(1) as served:
        first = type(served.sources[0])
        async with Services(served.registry) as plain:
            assert await plain.bind(first).plus(3) == 3
            assert await plain.with_options(timeout=3).bind(first).plus(4) == 4


@either
async def test_a_service_may_have_another_name_in_the_registry(kind: str) -> None:
    async with shops(1) as served:
        registry = StaticRegistry({"s0-svc": served.targets})
        async with many_services(kind, registry, names={"shop.s0": "s0-svc"}) as services:
            assert await services.call("shop.s0.plus", 5) == 5


@pytest.mark.parametrize(("kind", "client"), [(Services, Client), (SyncServices, SyncClient)])
def test_each_service_has_a_separate_client(kind: Any, client: Any) -> None:
    services = kind(StaticRegistry(), config=ClientConfig(codec="json"))
    found = services["shop.s0"]
    assert type(found) is client
    assert services["shop.s0"] is found
    assert found.codec == "json"
    assert repr(found) == f"<{client.__name__} of shop.s0>"
    assert repr(services) == f"<{kind.__name__} of <static registry of any service>>"


@either
async def test_views_have_options_for_all_services(kind: str) -> None:
    async with shops(2) as served, many_services(kind, served.registry) as services:
        view = services.with_options(metadata={"a": "1"}, timeout=20)
        further = view.with_options(metadata={"b": "2"})
        for name in served.names:
            assert await view.call(f"{name}.metadata") == {"a": "1"}
            assert await further.call(f"{name}.metadata") == {"a": "1", "b": "2"}
            assert await further[name].call(f"{name}.metadata") == {"a": "1", "b": "2"}
            assert await services.call(f"{name}.metadata") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_view_is_checked_when_it_is_made(kind: Any) -> None:
    services = kind(StaticRegistry())
    with pytest.raises(TypeError, match="with_options\\(\\) has no option tiemout"):
        services.with_options(tiemout=1)
    with pytest.raises(ConfigError, match="there is no fail mode 'failnever'"):
        services.with_options(fail_mode="failnever")


async def test_views_are_neither_closed_nor_entered() -> None:
    view = Services(StaticRegistry()).with_options(timeout=1)
    with pytest.raises(TypeError, match="cannot be closed"):
        await view.close()
    with pytest.raises(TypeError, match="cannot be entered"):
        await view.__aenter__()
    blocking = SyncServices(StaticRegistry()).with_options(timeout=1)
    with pytest.raises(TypeError, match="cannot be closed"):
        blocking.close()
    with pytest.raises(TypeError, match="cannot be entered"):
        blocking.__enter__()


# Services without calls


class WatchedLists(StaticRegistry):
    """A registry that counts its watches."""

    def __init__(self, lists: Any) -> None:
        super().__init__(lists)
        self.watched: list[str] = []

    def watch(self, service: str) -> Any:
        self.watched.append(service)
        return super().watch(service)


@either
async def test_an_idle_service_is_not_followed_until_its_next_call(kind: str) -> None:
    async with shops(2, servers=2) as served:
        registry = WatchedLists(dict.fromkeys(served.names, served.targets[:1]))
        async with many_services(kind, registry, idle_seconds=0.02) as services:
            kept = services["shop.s0"]
            assert await kept.call("shop.s0.number") == 0

            async def rests() -> bool:
                # A SyncServices looks while it is called.
                await services.call("shop.s1.number")
                return "shop.s0" not in followed(services)

            async with asyncio.timeout(20):
                while not await rests():
                    await asyncio.sleep(0)
            assert registry.watched == ["shop.s0", "shop.s1"]
            # The present list counts, not the earlier one.
            registry.update("shop.s0", served.targets[1:])
            assert str((await kept.request("shop.s0.number")).endpoint) == served.targets[1]
            assert registry.watched == ["shop.s0", "shop.s1", "shop.s0"]


def followed(services: Any) -> set[str]:
    """Return the names of the services that are followed."""
    tenants = getattr(services, "client", services)._tenants
    return {str(client._pool.target) for client in tenants.clients if client._pool.is_watching}


async def test_a_service_with_a_call_in_flight_is_followed() -> None:
    async with shops(2) as served, Services(served.registry, idle_seconds=0.01) as services:
        source = served.sources[0]
        held = asyncio.create_task(services.call("shop.s0.held"))
        await source.is_waiting.wait()
        await services.call("shop.s1.number")
        await eventually(lambda: followed(services) == {"shop.s0"})
        source.may_go_on.set()
        assert await held == 0
        await eventually(lambda: followed(services) == set())
        assert services.stats()["live"] == {"connections": 0, "calls": 0, "waiting": 0, "services": 0}


async def test_a_call_that_waits_for_a_server_keeps_its_service_followed() -> None:
    async with shops(1) as served:
        registry = StaticRegistry({"shop.s0": []})
        async with Services(registry, idle_seconds=0.01) as services:
            view = services.with_options(wait_for_ready=True, timeout=20)
            waiting = asyncio.create_task(view.call("shop.s0.number"))
            await eventually(lambda: followed(services))
            loop = asyncio.get_running_loop()
            await eventually(lambda: [*services._tenants.idle(loop.time())])
            services._home.look(loop)
            assert followed(services) == {"shop.s0"}
            registry.update("shop.s0", served.targets)
            assert await waiting == 0


async def test_services_that_are_dropped_are_collected() -> None:
    async with shops(1) as served:
        services = Services(served.registry)
        await services.call("shop.s0.number")
        await services["shop.s0"].close()
        dropped = weakref.ref(services)
        del services
        gc.collect()
        assert dropped() is None


# The end


@either
async def test_a_service_that_was_closed_starts_again(kind: str) -> None:
    async with shops(1) as served, many_services(kind, served.registry) as services:
        assert await services.call("shop.s0.number") == 0
        await services["shop.s0"].close()
        assert services.stats()["live"]["services"] == 0
        assert await services.call("shop.s0.number") == 0
        assert services.stats()["totals"]["calls"] == 2


@either
async def test_closed_services_refuse_calls(kind: str) -> None:
    async with shops(2) as served:
        async with many_services(kind, served.registry) as services:
            assert await services.call("shop.s0.number") == 0
        for name in served.names:
            with pytest.raises(fastrpc.UnavailableError, match="the client is closed"):
                await services.call(f"{name}.number")
        await services.close()


@either
async def test_closing_leaves_a_registry_object_open(kind: str) -> None:
    async with shops(1) as served:
        async with many_services(kind, served.registry) as services:
            await services.call("shop.s0.number")
        async with Client("shop.s0", registry=served.registry) as client:
            assert await client.call("shop.s0.number") == 0


def test_services_belong_to_the_loop_of_their_first_use() -> None:
    services = Services(StaticRegistry(["tcp://127.0.0.1:9"]))

    async def use() -> None:
        async with services:
            pass

    asyncio.run(use())
    with pytest.raises(RuntimeError, match="belongs to"):
        asyncio.run(use())


# Each service has its own policies


def test_a_selector_is_made_for_each_service() -> None:
    made: list[LeastLoaded] = []

    def make() -> LeastLoaded:
        made.append(LeastLoaded())
        return made[-1]

    services = Services(StaticRegistry(), selector=make)
    clients = [services["shop.s0"], services["shop.s1"]]
    assert len(made) == 2
    assert clients[0]._state.endpoint_set is not clients[1]._state.endpoint_set
    assert clients[0]._state.budget is not clients[1]._state.budget


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"registry": None}, "services are found in a registry"),
        ({"registry": "tcp://127.0.0.1:1"}, "no registry has the scheme 'tcp'"),
        ({"registry": "consul://127.0.0.1:8500/arith"}, "each client names its service"),
        ({"names": ["a"]}, "names is"),
        ({"names": {"a": 1}}, "names is"),
        ({"idle_seconds": 0}, "idle_seconds is 0, it must be seconds above 0"),
        ({"selector": Random()}, "one selector serves one service"),
        ({"selector": "randm"}, "did you mean 'random'"),
        ({"fail_mode": "failnever"}, "there is no fail mode"),
        ({"interceptors": 5}, "interceptors"),
        ({"config": {}}, "config is a dict"),
    ],
)
def test_a_wrong_argument_is_told_at_once(kind: Any, options: dict[str, Any], told: str) -> None:
    arguments = {"registry": StaticRegistry(), **options}
    with pytest.raises(ConfigError, match=told):
        kind(**arguments)


def test_blocking_services_refuse_what_a_blocking_client_refuses() -> None:
    with pytest.raises(ConfigError, match="makes one at a time"):
        SyncServices(StaticRegistry(), fail_mode="failbackup")
    with pytest.raises(ConfigError, match="no loop that could send probes"):
        SyncServices(StaticRegistry(), config=ClientConfig(pool=Pool(probes=Probes())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda kind: kind(), r"needs a registry \(write \w+\('consul://host:8500'\)\)"),
        (lambda kind: kind("consul://a:1", "b"), "takes one positional argument, the registry, and got 2"),
        (lambda kind: kind("consul://a:1", timeout=3), "write client.with_options"),
        (lambda kind: kind("consul://a:1", services=[1]), "has no argument 'services'"),
    ],
)
def test_an_argument_that_does_not_exist_is_reported(
    kind: Any, make: Callable[[Any], Any], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        make(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "error", "told"),
    [
        ("get", ConfigError, "'get' is not a method name"),
        (".get", ConfigError, "write it as service.method"),
        ("orders.", ConfigError, "write it as service.method"),
        ("a b.get", ConfigError, "'a b' is not a service name"),
        (5, TypeError, "5 is not a remote method"),
        ([], TypeError, "is not a remote method"),
        (Endpoint, TypeError, "Endpoint is a class"),
    ],
)
def test_a_method_without_a_service_is_reported(kind: Any, method: Any, error: Any, told: str) -> None:
    services = kind(StaticRegistry())
    for verb in ("call", "request", "stream"):
        with pytest.raises(error, match=told):
            getattr(services, verb)(method)


@pytest.mark.parametrize("kind", KINDS)
def test_the_method_of_a_call_is_given_by_position(kind: Any) -> None:
    services = kind(StaticRegistry())
    with pytest.raises(TypeError, match="the method as its first argument, by position|positional"):
        services.call(method="orders.get")


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_of_a_method_as_a_key_comes_out(kind: Any) -> None:
    class Broken:
        def __hash__(self) -> int:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind(StaticRegistry()).call(Broken())


@pytest.mark.parametrize("kind", KINDS)
def test_services_are_found_by_name_alone(kind: Any) -> None:
    services = kind(StaticRegistry())
    with pytest.raises(TypeError, match="0 is not the name of a service"):
        services[0]
    with pytest.raises(TypeError, match="not iterable"):
        iter(services)


async def test_a_service_that_is_not_listed_is_named() -> None:
    async with Services(StaticRegistry({"shop.s0": []})) as services:
        with pytest.raises(fastrpc.NoEndpointError, match="lists no endpoint of 'shop.s9'"):
            await services.call("shop.s9.number")


async def test_the_wrong_block_is_reported() -> None:
    with pytest.raises(TypeError, match="async with Services"):
        Services(StaticRegistry()).__enter__()  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="with SyncServices"):
        await SyncServices(StaticRegistry()).__aenter__()  # type: ignore[attr-defined]

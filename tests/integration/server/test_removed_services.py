"""`Server.remove`: the record goes first, then calls are refused unstarted, and `add` brings the service back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    HTTP,
    Client,
    ClientConfig,
    ConfigError,
    Server,
    ServerConfig,
    SyncClient,
    Timeouts,
    UnavailableError,
)
from fastrpc.auth import Identity, StaticTokens
from fastrpc.handlers import services
from fastrpc.registries import StaticRegistry
from tests.support.http_talk import HttpClient
from tests.support.served import SCHEMES, served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop


@fastrpc.service("arith", alias=["sums"])
class Arith:
    def __init__(self) -> None:
        self.is_free = asyncio.Event()
        self.began = 0

    @fastrpc.method(http="GET /products/{a}/{b}", safe=True)
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def held(self) -> str:
        self.began += 1
        await self.is_free.wait()
        return "done"

    @fastrpc.method
    async def numbers(self) -> AsyncIterator[int]:
        self.began += 1
        yield 1
        await self.is_free.wait()
        yield 2


@fastrpc.service("users")
class Users:
    @fastrpc.method
    async def name(self) -> str:
        return "Ann"


class Entered(Users):
    """A service that is entered and left."""

    def __init__(self, life: list[str]) -> None:
        self._life = life

    async def __aenter__(self) -> None:
        self._life.append("users in")

    async def __aexit__(self, *_: object) -> None:
        self._life.append("users out")


@fastrpc.function("math.mul")
async def mul(a: int, b: int) -> int:
    return a * b


@fastrpc.function("math.add")
async def add(a: int, b: int) -> int:
    return a + b


def listed(registry: StaticRegistry, service: str) -> int:
    with registry.watch(service) as watch:
        assert watch.latest is not None
        return len(watch.latest.endpoints)


async def refused_unstarted(client: Any, method: Any, *args: Any) -> UnavailableError:
    with pytest.raises(UnavailableError, match="was removed from this server") as caught:
        await client.call(method, *args)
    assert caught.value.processed == "no"
    return caught.value


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_calls_of_a_removed_service_are_refused_before_they_start(scheme: str) -> None:
    async with served(Arith, Users, scheme=scheme) as target, Client(target, fail_mode="failfast") as client:
        assert await client.call(Arith.mul, 6, 7) == 42
        assert await target.server.remove("arith") is True
        await refused_unstarted(client, Arith.mul, 6, 7)
        await refused_unstarted(client, "sums.mul", 6, 7)
        assert await client.call(Users.name) == "Ann"
        assert [one.name for one in target.server.services] == ["users"]


@pytest.mark.parametrize("protocol", ["native", "grpc", "rpcx"])
async def test_callers_by_every_protocol_are_told_to_go_elsewhere(protocol: str) -> None:
    config = ServerConfig(protocols=("native", "grpc", "rpcx"))
    wire = ClientConfig(wire_protocol=protocol)
    async with served(Arith, config=config, scheme="tcp") as target:
        async with Client(target, config=wire, fail_mode="failfast") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            await target.server.remove("arith")
            await refused_unstarted(client, Arith.mul, 6, 7)
            target.server.add(Arith())
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_add_brings_a_removed_service_back_any_number_of_times() -> None:
    async with served(Arith) as target, Client(target, fail_mode="failfast") as client:
        for service in (Arith(), Arith(), Arith()):
            await target.server.remove("arith")
            await refused_unstarted(client, Arith.mul, 6, 7)
            target.server.add(service)
            assert await client.call(Arith.mul, 6, 7) == 42
        assert [one.name for one in target.server.services] == ["arith"]


async def test_another_class_may_take_its_name() -> None:
    @fastrpc.service("arith")
    class Other:
        @fastrpc.method
        async def mul(self, a: int, b: int) -> str:
            return f"{a} by {b}"

    async with served(Arith) as target, Client(target, fail_mode="failfast") as client:
        await target.server.remove("sums")
        target.server.add(Other())
        assert await client.call("arith.mul", 6, 7) == "6 by 7"
        with pytest.raises(fastrpc.CallError, match="no method 'sums.mul'"):
            await client.call("sums.mul", 6, 7)


async def test_the_record_goes_first_and_comes_back() -> None:
    registry = StaticRegistry()
    async with Server(Arith, Users, registry=registry) as server:
        await server.listen("tcp://127.0.0.1:0")
        await server.remove("arith")
        assert (listed(registry, "arith"), listed(registry, "users")) == (0, 1)
        server.add(Arith())
        await eventually(lambda: listed(registry, "arith") == 1)


async def test_a_service_is_still_served_while_its_withdrawal_is_announced() -> None:
    registry = StaticRegistry()
    config = ServerConfig(timeouts=Timeouts(announce=30.0))
    server = Server(Arith, registry=registry, config=config)
    async with Client(str(await server.listen("tcp://127.0.0.1:0")), fail_mode="failfast") as client:
        removal = asyncio.ensure_future(server.remove("arith"))
        await eventually(lambda: listed(registry, "arith") == 0)
        assert await client.call(Arith.mul, 6, 7) == 42
        assert await client.call("fastrpc.health.check", "arith") == "NOT_SERVING"
        with pytest.raises(ConfigError, match="being removed already"):
            await server.remove("arith")
        # Nothing has happened yet that a cancellation could not take back.
        removal.cancel()
        with pytest.raises(asyncio.CancelledError):
            await removal
        await eventually(lambda: listed(registry, "arith") == 1)
        assert await client.call("fastrpc.health.check", "arith") == "SERVING"
    await server.close()


@pytest.mark.parametrize("method", ["held", "numbers"])
async def test_removing_a_service_waits_for_running_calls(method: str) -> None:
    arith = Arith()
    async with served(arith) as target, Client(target, fail_mode="failfast") as client:

        async def call() -> Any:
            if method == "held":
                return await client.call(Arith.held)
            async with client.stream(Arith.numbers) as numbers:
                return [n async for n in numbers]

        running = asyncio.ensure_future(call())
        await eventually(lambda: arith.began)
        removal = asyncio.ensure_future(target.server.remove("arith"))
        await eventually(lambda: not target.server.services)
        await refused_unstarted(client, Arith.mul, 6, 7)
        assert not removal.done()
        arith.is_free.set()
        assert await running in ("done", [1, 2])
        assert await removal is True


async def test_calls_that_outlast_the_time_are_cut_off() -> None:
    arith = Arith()
    async with served(arith) as target, Client(target, fail_mode="failfast") as client:
        running = asyncio.ensure_future(client.call(Arith.held))
        await eventually(lambda: arith.began)
        assert await target.server.remove("arith", timeout=0) is False
        with pytest.raises(fastrpc.CallError, match="the service was removed") as caught:
            await running
        assert caught.value.status is fastrpc.Status.UNAVAILABLE
        assert target.server.stats()["live"]["calls"] == 0


@pytest.mark.parametrize("end", ["close", "drain"])
async def test_calls_that_the_end_of_the_server_cuts_off_count_as_cut_off(end: str) -> None:
    arith = Arith()
    async with served(arith) as target, Client(target, fail_mode="failfast") as client:
        running = asyncio.ensure_future(client.call(Arith.held))
        await eventually(lambda: arith.began)
        removal = asyncio.ensure_future(target.server.remove("arith", timeout=20.0))
        await eventually(lambda: not target.server.services)
        await (target.server.close() if end == "close" else target.server.drain(timeout=0))
        assert await removal is False
        with pytest.raises(fastrpc.FastRPCError):
            await running


async def test_a_service_added_while_old_calls_run_is_not_cut_off_with_them() -> None:
    old, new = Arith(), Arith()
    async with served(old) as target, Client(target, fail_mode="failfast") as client:
        first = asyncio.ensure_future(client.call(Arith.held))
        await eventually(lambda: old.began)
        removal = asyncio.ensure_future(target.server.remove("arith", timeout=20.0))
        await eventually(lambda: not target.server.services)
        target.server.add(new)
        second = asyncio.ensure_future(client.call(Arith.held))
        await eventually(lambda: new.began)
        old.is_free.set()
        assert await first == "done"
        assert await removal is True
        new.is_free.set()
        assert await second == "done"


async def test_a_handler_may_remove_its_own_service() -> None:
    @fastrpc.service("own")
    class Own:
        @fastrpc.method
        async def leave(self) -> bool:
            return await target.server.remove("own")

    async with served(Own) as target, Client(target, fail_mode="failfast") as client:
        assert await client.call(Own.leave) is True
        await refused_unstarted(client, Own.leave)


async def test_context_managers_of_a_service_are_left_once_no_service_needs_them() -> None:
    life: list[str] = []

    @asynccontextmanager
    async def database() -> AsyncIterator[list[Any]]:
        life.append("database in")
        yield [Entered(life), Arith()]
        life.append("database out")

    async with served(database) as target, Client(target) as client:
        assert life == ["database in", "users in"]
        await target.server.remove("users")
        assert life[2:] == ["users out"]
        assert await client.call(Arith.mul, 6, 7) == 42
        await target.server.remove("arith")
        assert life[3:] == ["database out"]
    assert life[4:] == []


@pytest.mark.parametrize("end", ["cancelled", "lost"])
async def test_handlers_end_before_the_context_managers_around_them(end: str) -> None:
    life: list[str] = []

    @fastrpc.service("tidy")
    class Tidy:
        @fastrpc.method
        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                for _ in range(10):
                    await asyncio.sleep(0)
                life.append("handler out")

    @asynccontextmanager
    async def database() -> AsyncIterator[Tidy]:
        yield Tidy()
        life.append("database out")

    async with served(database) as target:
        client = Client(target, fail_mode="failfast")
        running = asyncio.ensure_future(client.call(Tidy.work))
        await eventually(lambda: target.server.stats()["live"]["calls"] == 1)
        removal = asyncio.ensure_future(target.server.remove("tidy", timeout=20.0))
        await eventually(lambda: not target.server.services)
        if end == "cancelled":
            removal.cancel()
        else:
            await client.close()
        await asyncio.gather(removal, running, return_exceptions=True)
        assert life == ["handler out", "database out"]
        await client.close()


async def test_functions_with_the_same_prefix_are_removed_together() -> None:
    async with served(mul, add) as target, Client(target, fail_mode="failfast") as client:
        await target.server.remove("math")
        await refused_unstarted(client, mul, 6, 7)
        await refused_unstarted(client, add, 6, 7)
        target.server.add(add)
        assert await client.call(add, 6, 7) == 13
        await refused_unstarted(client, mul, 6, 7)
        target.server.add(mul)
        assert await client.call(mul, 6, 7) == 42


@pytest.mark.parametrize("name", ["ariht", "", "fastrpc.health", 7])
async def test_other_names_are_refused(name: Any) -> None:
    async with served(Arith) as target:
        with pytest.raises(ConfigError):
            await target.server.remove(name)


async def test_only_a_server_that_serves_removes() -> None:
    server = Server(Arith)
    with pytest.raises(RuntimeError, match="has not started"):
        await server.remove("arith")
    async with server:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        await server.remove("arith")


async def test_health_and_reflection_know_it_no_more() -> None:
    async with served(Arith, Users) as target, Client(target) as client:
        async with client.stream("fastrpc.health.watch", "arith") as states:
            assert await states.receive() == "SERVING"
            await target.server.remove("arith")
            seen = [await states.receive()]
            while seen[-1] != "SERVICE_UNKNOWN":
                seen.append(await states.receive())
        assert [one["name"] for one in await client.call("fastrpc.reflection.services")][:1] == ["users"]
        with pytest.raises(fastrpc.CallError, match=r"there are users\.name"):
            await client.call("another.method")


async def test_few_of_many_removed_services_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(number: int) -> Any:
        @fastrpc.service(f"tenant{number}")
        class Tenant:
            @fastrpc.method
            async def name(self) -> int:
                return number

        return Tenant()

    monkeypatch.setattr(services, "MOST_WITHDRAWN", 2)
    async with served(Users) as target, Client(target, fail_mode="failfast") as client:
        for number in range(5):
            target.server.add(made(number))
            await target.server.remove(f"tenant{number}")
        await refused_unstarted(client, "tenant4.name")
        await refused_unstarted(client, "tenant3.name")
        with pytest.raises(fastrpc.CallError, match=r"no method 'tenant2\.name'"):
            await client.call("tenant2.name")
        target.server.add(made(0))
        assert await client.call("tenant0.name") == 0


async def test_callers_that_need_rights_are_refused_unstarted_too() -> None:
    access = StaticTokens({"secret-of-ann-0123456789": Identity("ann")})
    async with served(Arith, authenticate=access) as target:
        async with Client(target, fail_mode="failfast", credentials="secret-of-ann-0123456789") as client:
            assert await client.call(Arith.mul, 6, 7) == 42
            await target.server.remove("arith")
            await refused_unstarted(client, Arith.mul, 6, 7)
            target.server.add(Arith())
            assert await client.call(Arith.mul, 6, 7) == 42


async def test_callers_by_http_get_503_by_both_paths() -> None:
    config = ServerConfig(protocols=("native", "http"), http=HTTP())
    async with served(Arith, config=config, scheme="tcp") as target, await HttpClient.to(target) as http:
        assert (await http.get("/products/6/7")).value == 42
        await target.server.remove("arith")
        assert (await http.get("/products/6/7")).status == 503
        assert (await http.post("/arith/mul", [6, 7])).status == 503
        target.server.add(Arith())
        assert (await http.get("/products/6/7")).value == 42


async def test_a_path_belongs_to_the_service_that_is_served() -> None:
    @fastrpc.service("products")
    class Products:
        @fastrpc.method(http="GET /products/{first}/{second}", safe=True)
        async def named(self, first: str, second: str) -> str:
            return first + second

    @fastrpc.service("special")
    class Special:
        @fastrpc.method(http="GET /products/6/{b}", safe=True)
        async def six(self, b: int) -> str:
            return f"six, {b}"

    config = ServerConfig(protocols=("native", "http"))
    async with served(config=config, scheme="tcp") as target, await HttpClient.to(target) as http:
        seen = []
        # Each takes over the paths of those before it, and gives them back.
        for name, service in [("special", Special()), ("arith", Arith()), ("products", Products())] * 2:
            target.server.add(service)
            seen.append((await http.get("/products/6/7")).value)
            await target.server.remove(name)
        assert seen == ["six, 7", 42, "67"] * 2
        assert (await http.get("/products/6/7")).status == 503


async def test_no_call_fails_while_another_server_has_the_service() -> None:
    """Half of the calls may not run twice: those are refused before they start, and go to the other server."""
    async with served(Arith) as steady, served(Arith) as moving:
        async with Client([steady, moving]) as client:

            async def call(count: int) -> None:
                for n in range(count):
                    view = client.with_options(idempotent=bool(n % 2))
                    assert await view.call(Arith.mul, n, 2) == 2 * n

            calls = asyncio.gather(*(call(100) for _ in range(10)))
            while not calls.done():
                await moving.server.remove("arith")
                await asyncio.sleep(0)
                moving.server.add(Arith())
                await asyncio.sleep(0)
            await calls


def test_a_blocking_client_goes_to_the_other_server() -> None:
    with ThreadedServer(Arith) as steady, ThreadedServer(Arith) as moving:
        with SyncClient([steady.address, moving.address]) as client:
            for n in range(20):
                assert client.call(Arith.mul, n, 2) == 2 * n
            asyncio.run_coroutine_threadsafe(moving.server.remove("arith"), moving.loop).result(20)
            for n in range(20):
                assert client.call(Arith.mul, n, 2) == 2 * n

"""Services at one address share its connections; the same for `Services` and `SyncServices`."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, ClientConfig, Endpoint, Keepalive, Server, Services, SyncServices
from fastrpc.config import Breaker, Pool
from fastrpc.gauges import gauges
from fastrpc.registries import StaticRegistry
from fastrpc.testing import serving
from tests.support.either_client import CLIENTS, many_services
from tests.support.forking import in_child
from tests.support.served import served as one_served
from tests.support.shops import shop, shops
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

either = pytest.mark.parametrize("kind", CLIENTS)
QUICK = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))


async def until_connected(services: Any, calls: Callable[[], Any], endpoints: int) -> None:
    """Call until the given number of endpoints have answered."""
    called: set[str] = set()
    async with asyncio.timeout(20):
        while len(called) < endpoints:
            called |= {str(reply.endpoint) for reply in await asyncio.gather(*calls())}


@either
async def test_fifty_services_on_five_servers_have_five_connections(kind: str) -> None:
    async with shops(50, servers=5) as served, many_services(kind, served.registry) as services:
        await until_connected(
            services, lambda: [services.request(f"{name}.number") for name in served.names], 5
        )
        assert served.connections == 5
        stats = services.stats()
        assert stats["live"]["connections"] == stats["totals"]["connections"] == 5
        assert stats["live"]["services"] == 50
        told = [value for name, labels, value in gauges() if name == "fastrpc_client_connections" and value]
        assert told == [5]


@either
async def test_a_closed_service_keeps_connections_that_other_services_use(kind: str) -> None:
    async with shops(2) as served, many_services(kind, served.registry) as services:
        await services.call("shop.s0.number")
        held = asyncio.create_task(services.call("shop.s1.held"))
        await served.sources[1].is_waiting.wait()
        [before] = served.targets[0].server.peers()
        await services["shop.s0"].close()
        served.sources[1].may_go_on.set()
        assert await held == 1
        assert await services.call("shop.s0.number") == 0
        assert served.targets[0].server.peers() == [before]


async def test_a_service_takes_no_calls_while_it_closes() -> None:
    async with shops(2) as served, many_services("async", served.registry) as services:
        for name in served.names:
            await services.call(f"{name}.number")
        client = services["shop.s0"]
        closing = asyncio.create_task(client.close())
        await asyncio.sleep(0)
        assert not closing.done()
        with pytest.raises(fastrpc.UnavailableError, match="the client is closed"):
            await client.call("shop.s0.number")
        await closing


@either
async def test_the_last_service_to_leave_closes_the_connection(kind: str) -> None:
    async with shops(2) as served, many_services(kind, served.registry) as services:
        for name in served.names:
            await services.call(f"{name}.number")
        for name in served.names:
            assert served.connections == 1
            await services[name].close()
        await eventually(lambda: served.connections == 0)


@either
async def test_an_endpoint_that_leaves_one_list_stays_connected_for_other_services(kind: str) -> None:
    async with shops(2, servers=2) as served:
        registry = StaticRegistry(dict.fromkeys(served.names, served.targets[:1]))
        async with many_services(kind, registry) as services:
            for name in served.names:
                await services.call(f"{name}.number")
            [before] = served.targets[0].server.peers()
            registry.update("shop.s0", served.targets[1:])
            async with asyncio.timeout(20):
                # On a loop a call may come before the list.
                while str((await services.request("shop.s0.number")).endpoint) != served.targets[1]:
                    await asyncio.sleep(0)
            assert await services.call("shop.s1.number") == 1
            assert served.targets[0].server.peers() == [before]


@either
async def test_a_server_that_comes_back_gets_one_connection(kind: str) -> None:
    names = [f"shop.s{number}" for number in range(10)]
    sources = [shop(number) for number in range(10)]
    async with contextlib.AsyncExitStack() as stack:
        target = await stack.enter_async_context(one_served(sources, scheme="tcp"))
        registry = StaticRegistry([target])
        async with many_services(kind, registry, config=QUICK) as services:
            view = services.with_options(wait_for_ready=True, timeout=20)
            await asyncio.gather(*(view.call(f"{name}.number") for name in names))
            await target.server.close()
            async with Server(sources) as again:
                await again.listen(target)
                found = await asyncio.gather(*(view.call(f"{name}.number") for name in names))
                assert found == list(range(10))
                assert len(again.peers()) == 1
                await services.close()


@contextlib.asynccontextmanager
async def refusing() -> AsyncIterator[tuple[str, list[int]]]:
    """Accept connections and end them; yield the address and a list with an entry for each."""
    accepted: list[int] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        writer.close()

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}", accepted


@either
async def test_an_address_that_is_down_is_dialled_as_often_as_by_one_client(kind: str) -> None:
    names = [f"shop.s{number}" for number in range(30)]
    config = ClientConfig(backoff=Backoff(first=20, longest=30))
    async with refusing() as (address, accepted):
        async with many_services(kind, StaticRegistry([address]), config=config) as services:
            view = services.with_options(timeout=5)
            outcomes = await asyncio.gather(
                *(view.call(f"{name}.number") for name in names), return_exceptions=True
            )
            assert {type(each) for each in outcomes} <= {fastrpc.ConnectError, fastrpc.ConnectionLostError}
            assert len(accepted) <= 2


async def test_a_service_that_closes_while_it_dials_leaves_the_dial_to_other_services() -> None:
    async with shops(2) as served:
        may_show = asyncio.Event()
        asked: list[int] = []

        async def token() -> str:
            asked.append(1)
            if len(asked) == 1:
                await may_show.wait()
            return "token"

        async with Services(served.registry, credentials=token) as services:
            first = asyncio.create_task(services.call("shop.s0.number"))
            await eventually(lambda: asked)
            second = asyncio.create_task(services.call("shop.s1.number"))
            await services["shop.s0"].close()
            assert await second == 1
            with pytest.raises(fastrpc.UnavailableError):
                await first


@either
async def test_an_aged_connection_is_replaced_for_all_services(kind: str) -> None:
    config = ClientConfig(keepalive=Keepalive(max_age=0.05))
    async with shops(3) as served, many_services(kind, served.registry, config=config) as services:
        async with asyncio.timeout(20):
            while services.stats()["totals"]["connections"] < 3:
                found = await asyncio.gather(*(services.call(f"{name}.number") for name in served.names))
                assert found == [0, 1, 2]
        await eventually(lambda: served.connections <= 2)


@either
async def test_a_reply_has_the_record_of_its_own_service(kind: str) -> None:
    async with shops(2) as served:
        [target] = served.targets
        records = [Endpoint(str(target), version=f"{number}.0") for number in range(2)]
        registry = StaticRegistry(
            {name: [record] for name, record in zip(served.names, records, strict=True)}
        )
        async with many_services(kind, registry) as services:
            for name, record in zip(served.names, records, strict=True):
                reply = await services.request(f"{name}.number")
                assert reply.endpoint is record
            assert served.connections == 1


@either
async def test_the_breaker_of_one_service_does_not_hold_another(kind: str) -> None:
    config = ClientConfig(pool=Pool(breaker=Breaker(consecutive=2)))
    async with shops(2) as served, many_services(kind, served.registry, config=config) as services:
        brief = services.with_options(timeout=0.01, fail_mode="failfast")
        with pytest.raises(fastrpc.CircuitOpenError):
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(fastrpc.DeadlineExceededError):
                        await brief.call("shop.s0.held")
        assert await services.call("shop.s1.number") == 1
        assert served.connections == 1


@either
async def test_a_refused_token_is_the_error_of_every_service(kind: str) -> None:
    async def authenticate(peer: fastrpc.Peer) -> fastrpc.Identity | None:
        raise fastrpc.CallError(fastrpc.Status.UNAUTHENTICATED, "unknown token")

    config = ClientConfig(backoff=Backoff(first=20, longest=30))
    sources = [shop(0), shop(1)]
    async with one_served(sources, scheme="tcp", authenticate=authenticate) as target:
        registry = StaticRegistry([target])
        async with many_services(kind, registry, credentials="token", config=config) as services:
            for name in ("shop.s0", "shop.s1"):
                with pytest.raises(fastrpc.CallError) as refused:
                    await services.call(f"{name}.number")
                assert refused.value.status is fastrpc.Status.UNAUTHENTICATED


# Forks

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@forks
async def test_services_that_were_used_refuse_to_be_used_in_a_child() -> None:
    async with shops(2) as served, Services(served.registry) as services:
        await services.call("shop.s0.number")

        def check() -> None:
            with pytest.raises(RuntimeError, match="this Services was used before the fork"):
                services["shop.s1"]

            async def call() -> None:
                await services.call("shop.s0.number")

            with pytest.raises(RuntimeError, match="was used before the fork; create it in the child"):
                asyncio.new_event_loop().run_until_complete(call())

        await asyncio.to_thread(in_child, check)
        assert await services.call("shop.s1.number") == 1


@forks
def test_used_blocking_services_work_in_the_child_and_in_the_parent() -> None:
    with serving([shop(0), shop(1)]) as address:
        with SyncServices(f"static://{address.removeprefix('tcp://')}") as services:
            view = services.with_options(metadata={"a": "b"})
            assert services.call("shop.s0.number") == 0

            def check() -> None:
                assert services.call("shop.s0.number") == 0
                assert services.call("shop.s1.number") == 1
                assert view.call("shop.s0.metadata") == {"a": "b"}
                assert services.stats()["live"]["connections"] == 1
                services.close()

            for _ in range(2):
                in_child(check)
            assert services.call("shop.s1.number") == 1
            assert services.stats()["totals"]["connections"] == 1


@forks
def test_a_child_needs_a_separate_registry() -> None:
    with serving([shop(0)]) as address, SyncServices(StaticRegistry([address])) as services:
        assert services.call("shop.s0.number") == 0

        def check() -> None:
            with pytest.raises(RuntimeError, match="was used before the fork"):
                services.call("shop.s0.number")

        in_child(check)


def test_a_signal_handler_that_calls_a_service_inside_another_is_refused() -> None:
    with serving([shop(0)]) as address, SyncServices(StaticRegistry([address])) as services:
        assert services.call("shop.s0.number") == 0
        with services["shop.s0"]._pool.reentry, pytest.raises(RuntimeError, match="used inside itself"):
            services.call("shop.s1.number")

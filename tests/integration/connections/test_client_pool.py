"""The connections of a client: their number, when they are made, and the effect of new and lost ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, Client, ClientConfig, Keepalive, Server, ServerConfig, SyncClient, Timeouts
from fastrpc.client.pool import ConnectionPool
from fastrpc.client.subchannel import Subchannel
from fastrpc.config import Pool
from fastrpc.registries import StaticRegistry
from fastrpc.testing import serving
from tests.support.served import Served, served
from tests.support.waiting import eventually
from tests.support.who import Who

pytestmark = pytest.mark.one_loop

QUICK = Backoff(first=0.01, longest=0.05)


def config(pool: Pool, **options: Any) -> ClientConfig:
    return ClientConfig(pool=pool, backoff=QUICK, **options)


@contextlib.asynccontextmanager
async def endpoint_set(count: int, settings: ServerConfig | None = None) -> AsyncIterator[list[Served]]:
    """Serve several endpoints over tcp."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(served(Who(f"server {number}"), scheme="tcp", config=settings))
            for number in range(count)
        ]


def connections(target: Served) -> int:
    live: int = target.server.stats()["live"]["connections"]
    return live


async def test_further_connections_are_made_when_settings_come_before_the_dial_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def make(subchannel: Subchannel, owner: Any) -> Any:
        session = await original(subchannel, owner)
        await eventually(lambda: session.is_ready)
        return session

    original = Subchannel.make
    monkeypatch.setattr(Subchannel, "make", make)
    async with served(Who("one"), scheme="tcp") as target:
        async with Client(target, config=config(Pool(connections_per_endpoint=4))) as client:
            assert await client.call(Who.name_of) == "one"
            await eventually(lambda: connections(target) == 4)


@contextlib.asynccontextmanager
async def calling(client: Client, tasks: int = 8) -> AsyncIterator[list[str]]:
    """Keep calls that must not run twice running inside the block, none of which may fail; yield the answers."""
    answers: list[str] = []
    is_over = False

    async def caller() -> None:
        while not is_over:
            answers.append(await client.call(Who.once))

    async with asyncio.TaskGroup() as group:
        for _ in range(tasks):
            group.create_task(caller())
        try:
            yield answers
        finally:
            is_over = True


@pytest.fixture
def tcp_servers() -> Iterator[list[str]]:
    with serving(Who("server 0")) as first, serving(Who("server 1")) as second:
        yield [first, second]


# Several connections to one endpoint


@pytest.mark.parametrize("count", [1, 2])
async def test_calls_use_the_connections_of_an_endpoint_by_turns(count: int) -> None:
    async with endpoint_set(count) as targets:
        async with Client(list(targets), config=config(Pool(connections_per_endpoint=3))) as client:
            await client.ready()
            await eventually(lambda: len(client._pool.connections) == 3 * count)
            calls = [asyncio.create_task(client.call(Who.until_drained)) for _ in range(12 * count)]
            await eventually(lambda: client.stats()["live"]["calls"] == 12 * count)
            assert [session.stats()["calls"] for session in client._pool.connections] == [4] * 3 * count
            assert [connections(target) for target in targets] == [3] * count
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            batch = await client.call_many(Who.name_of, [()] * 9)
            assert len(set(batch)) == 1
            view = client.with_options(endpoint=targets[0])
            assert [await view.call(Who.name_of) for _ in range(4)] == ["server 0"] * 4


async def test_one_connection_is_enough_by_default() -> None:
    async with endpoint_set(1) as (target,), Client(target) as client:
        async with calling(client) as answers:
            await eventually(lambda: len(answers) > 100)
        assert client.stats()["totals"]["connections"] == 1


async def test_a_silent_server_gets_no_further_connections() -> None:
    accepted: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _, writer: accepted.append(writer), "127.0.0.1") as silent:
        port = silent.sockets[0].getsockname()[1]
        settings = config(Pool(connections_per_endpoint=4), early_calls="none")
        async with Client(f"tcp://127.0.0.1:{port}", config=settings) as client:
            with pytest.raises(fastrpc.DeadlineExceededError):
                await client.with_options(timeout=0.2).call(Who.name_of)
            await eventually(lambda: accepted)
            assert len(accepted) == 1
        for writer in accepted:
            writer.close()


async def test_a_lost_connection_is_replaced_while_the_others_serve() -> None:
    async with endpoint_set(1) as (target,):
        async with Client(target, config=config(Pool(connections_per_endpoint=3))) as client:
            await client.ready()
            await eventually(lambda: len(client._pool.connections) == 3)
            lost = client._pool.connections[0]
            lost.abort()
            # The other connections carry calls meanwhile.
            assert await client.call(Who.once) == "server 0"
            await eventually(lambda: len(client._pool.connections) == 3)
            assert lost not in client._pool.connections
            # The server hears later that the lost one is gone.
            await eventually(lambda: connections(target) == 3)


async def test_several_connections_age_without_a_failed_call() -> None:
    settings = ServerConfig(keepalive=Keepalive(max_age=0.1))
    async with endpoint_set(1, settings) as (target,):
        async with Client(target, config=config(Pool(connections_per_endpoint=3))) as client:
            await client.ready()
            async with calling(client):
                await eventually(lambda: client.stats()["totals"]["connections"] >= 12)


async def test_connections_that_nobody_needs_are_closed_and_come_back_with_a_call() -> None:
    settings = config(Pool(connections_per_endpoint=2), timeouts=Timeouts(idle=0.1, linger=0.1))
    async with endpoint_set(1) as (target,), Client(target, config=settings) as client:
        for times in (1, 2):
            assert await client.call(Who.once) == "server 0"
            await eventually(lambda: client.stats()["totals"]["connections"] >= 2 * times)  # noqa: B023
            await eventually(lambda: connections(target) == 0)


# Servers that leave


async def test_a_restart_of_a_server_with_several_connections_fails_no_call() -> None:
    async with endpoint_set(2) as targets, contextlib.AsyncExitStack() as stack:
        settings = config(Pool(connections_per_endpoint=3))
        async with Client(list(targets), config=settings) as client:
            await client.ready()
            await eventually(lambda: len(client._pool.connections) == 6)
            async with calling(client, 30) as answers:
                for target in targets:
                    enough = len(answers) + 300
                    assert await target.server.drain() is True
                    server = await stack.enter_async_context(Server(Who("again")))
                    await server.listen(target)
                    await eventually(lambda: len(client._pool.connections) == 6)
                    await eventually(lambda: len(answers) > enough)  # noqa: B023 - awaited at once


async def test_an_endpoint_that_drains_gets_no_further_call() -> None:
    async with endpoint_set(2) as targets, Client(list(targets), config=config(Pool())) as client:
        await client.ready()
        await eventually(lambda: len(client._pool.connections) == 2)
        pinned = client.with_options(endpoint=targets[0], timeout=None)
        running = asyncio.create_task(pinned.call(Who.until_drained))
        await eventually(lambda: targets[0].server.stats()["live"]["calls"] == 1)
        drain = asyncio.create_task(targets[0].server.drain())
        # The server has heard of the drain, and so has the client, whose call is answered after the GOAWAY.
        assert await running == "server 0"
        replies = [await client.request(Who.once) for _ in range(10)]
        assert {(reply.value, reply.attempts) for reply in replies} == {("server 1", 1)}
        assert await drain is True


# Warm ones


@pytest.mark.parametrize(("warm", "wanted"), [(0, [0, 0, 0]), (1, [0, 0, 2]), (2, [0, 2, 2]), (9, [2, 2, 2])])
async def test_warm_endpoints_are_connected_before_the_first_call(warm: int, wanted: list[int]) -> None:
    async with endpoint_set(3) as targets:
        settings = config(Pool(warm=warm, connections_per_endpoint=2))
        async with Client(list(targets), config=settings) as client:
            await eventually(lambda: sorted(map(connections, targets)) == wanted)
            await eventually(lambda: len(client._pool.open_connections) == sum(wanted))
            # The other ones wait for a call.
            assert sorted(map(connections, targets)) == wanted
            await client.call(Who.once)
            await eventually(lambda: list(map(connections, targets)) == [2, 2, 2])


async def test_many_endpoints_connect_without_a_scan_of_all_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, looks = 200, 0
    tell = ConnectionPool._tell

    def counted(pool: ConnectionPool) -> None:
        nonlocal looks
        looks += 1
        tell(pool)

    monkeypatch.setattr(ConnectionPool, "_tell", counted)
    async with Server(Who("server")) as server:
        targets = [str(await server.listen(f"memory://many-{number}")) for number in range(count)]
        async with Client(targets, selector="round_robin") as client:
            await client.call(Who.once)
            await eventually(lambda: len(client._pool.connections) == count)
            assert looks < count / 2
            # The last connections are known as well, once the pool has reported them.
            await eventually(
                lambda: all(subchannel.endpoint_state.connections for subchannel in client._pool.subchannels)
            )
            # Late reports of the pool may change the order of turns once more.
            answered: set[object] = set()
            async with asyncio.timeout(20):
                while len(answered) < count:
                    answered.add((await client.request(Who.once)).endpoint)


async def test_warm_connections_of_one_address() -> None:
    async with endpoint_set(1) as (target,), Client(target, config=config(Pool(warm=1))) as client:
        await eventually(lambda: connections(target) == 1)
        assert client.stats()["totals"]["calls"] == 0


async def test_warm_endpoints_of_a_registry_are_connected_as_they_come() -> None:
    async with endpoint_set(2) as targets:
        registry = StaticRegistry({"who": targets[:1]})
        async with Client("who", registry=registry, config=config(Pool(warm=5))):
            await eventually(lambda: list(map(connections, targets)) == [1, 0])
            registry.update("who", targets)
            await eventually(lambda: list(map(connections, targets)) == [1, 1])


async def test_different_clients_warm_different_endpoints() -> None:
    async with endpoint_set(3) as targets, contextlib.AsyncExitStack() as stack:
        for _ in range(40):
            client = Client(list(targets), config=config(Pool(warm=1)))
            await stack.enter_async_context(client)
        await eventually(lambda: sum(map(connections, targets)) == 40)
        # A server of three is left out by forty clients once in four million times.
        assert min(map(connections, targets)) > 0


@pytest.mark.parametrize("side", ["client", "server"])
async def test_warm_connections_stay_though_nobody_calls(side: str) -> None:
    idle = Timeouts(idle=0.05, linger=0.1)
    server = ServerConfig(timeouts=idle if side == "server" else Timeouts())
    client_timeouts = idle if side == "client" else Timeouts()
    async with endpoint_set(1, server) as (target,):
        async with Client(target, config=config(Pool(warm=1), timeouts=client_timeouts)) as client:
            await eventually(lambda: connections(target) == 1)
            if side == "server":
                # A connection that the server ends is made again.
                await eventually(lambda: client.stats()["totals"]["connections"] > 1)
                await eventually(lambda: connections(target) == 1)
            else:
                await asyncio.sleep(0.3)
                assert connections(target) == client.stats()["totals"]["connections"] == 1
            assert client.stats()["totals"]["calls"] == 0


# Without a loop


def test_blocking_client_connects_early_when_ready_is_called(tcp_servers: list[str]) -> None:
    settings = config(Pool(warm=2, connections_per_endpoint=2))
    dead = "tcp://127.0.0.1:9"
    with SyncClient([*tcp_servers, dead], config=settings) as client:
        assert client.stats()["live"]["connections"] == 0
        client.ready(5)
        # The dead one may be among those two; the call that follows is not to notice.
        assert client.stats()["live"]["connections"] >= 2
        assert client.call(Who.once).startswith("server")
    with SyncClient(tcp_servers, config=settings) as client:
        client.ready(5)
        assert client.stats()["live"]["connections"] == 4
        assert {client.call(Who.once) for _ in range(4)} == {"server 0", "server 1"}

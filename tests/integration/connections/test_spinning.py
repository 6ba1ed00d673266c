"""Adaptive spinning: the loop polls for a while after the last activity, then it sleeps."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, Server, ServerConfig, SyncClient
from fastrpc._core.loop.loop_state import loop_state
from fastrpc._core.loop.polling import Spinner
from fastrpc.errors import ConnectionLostError
from fastrpc.testing import FaultyTransport

MIB = 1024 * 1024
#: Longer than any test.
LONG = 1_000_000


@fastrpc.service("desk")
class Desk:
    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload

    @fastrpc.method
    async def later(self, turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    @fastrpc.method
    def in_thread(self, number: int) -> int:
        return number


@asynccontextmanager
async def pair(*, server: int = 0, client: int = 0, clients: int = 1) -> AsyncIterator[list[Client]]:
    """A server and clients on this loop, each spinning for the given number of microseconds."""
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(
            Server(Desk(), config=ServerConfig(spin_microseconds=server))
        )
        address = await served.listen("tcp://127.0.0.1:0")
        yield [
            await stack.enter_async_context(
                Client(str(address), config=ClientConfig(spin_microseconds=client))
            )
            for _ in range(clients)
        ]


def spinner() -> Spinner:
    found = loop_state(asyncio.get_running_loop()).spinner
    assert found is not None
    return found


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_a_loop_spins_only_if_it_is_configured_to() -> None:
    async with pair() as (client,):
        assert await client.call(Desk.echo, b"x") == b"x"
        assert loop_state(asyncio.get_running_loop()).spinner is None


@pytest.mark.parametrize("sides", [{"server": LONG}, {"client": LONG}, {"server": LONG, "client": LONG}])
async def test_the_loop_is_kept_awake_after_a_call(sides: dict[str, int]) -> None:
    async with pair(**sides) as (client,):
        await client.call(Desk.echo, b"x")
        before = spinner().rounds
        await turns(100)
        # Once in each turn: neither left out nor running twice.
        assert 90 <= spinner().rounds - before <= 110


@pytest.mark.measures
async def test_the_loop_sleeps_again_when_the_time_is_over() -> None:
    async with pair(client=2_000) as (client,):
        await client.call(Desk.echo, b"x")
        started = time.monotonic()
        await until(lambda: not spinner().is_armed)
        # The last byte came before `started`, but not long before.
        assert time.monotonic() - started > 0.0001
        before = spinner().rounds
        await turns(10)
        assert spinner().rounds == before
        await client.call(Desk.echo, b"x")
        assert spinner().is_armed
        assert spinner().rounds > before


async def test_all_connections_of_a_loop_share_one_spinner() -> None:
    async with pair(server=LONG, client=LONG, clients=3) as clients:
        for client in clients:
            await client.call(Desk.echo, b"x")
        only = spinner()
        assert only.sessions == 6
        before = only.rounds
        await turns(100)
        assert 90 <= only.rounds - before <= 110
        assert spinner() is only


async def test_it_ends_with_the_last_connection() -> None:
    async with pair(server=LONG, client=LONG) as (client,):
        await client.call(Desk.echo, b"x")
        assert spinner().sessions == 2
    assert spinner().sessions == 0
    await turns(2)
    assert not spinner().is_armed


async def test_a_loop_on_one_core_does_not_spin_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    config = ClientConfig(spin_microseconds=LONG)
    with pytest.warns(RuntimeWarning, match="one core") as warned:
        server = Server(Desk(), config=ServerConfig(spin_microseconds=LONG))
        client = Client("tcp://127.0.0.1:1", config=config)
        SyncClient("tcp://127.0.0.1:1", config=config)
    assert [os.path.basename(warning.filename) for warning in warned] == [os.path.basename(__file__)] * 3
    await client.close()
    async with server:
        address = await server.listen("tcp://127.0.0.1:0")
        with pytest.warns(RuntimeWarning, match="one core"):
            client = Client(str(address), config=config)
        async with client:
            assert await client.call(Desk.echo, b"x") == b"x"
            assert loop_state(asyncio.get_running_loop()).spinner is None


async def test_one_core_does_not_matter_without_spinning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    async with pair() as (client,):
        assert await client.call(Desk.echo, b"x") == b"x"


async def test_a_process_bound_to_one_core_of_several_may_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    async with pair(client=LONG) as (client,):
        await client.call(Desk.echo, b"x")
        assert spinner().is_armed


async def test_calls_of_all_kinds_and_sizes_come_through() -> None:
    async with pair(server=LONG, client=LONG) as (client,), asyncio.TaskGroup() as group:
        payloads = [bytes([size % 251]) * size for size in (0, 1, 500, 70_000, 3 * MIB)] * 4
        echoes = [group.create_task(client.call(Desk.echo, payload)) for payload in payloads]
        laters = [group.create_task(client.call(Desk.later, number)) for number in range(20)]
        threads = [group.create_task(client.call(Desk.in_thread, number)) for number in range(20)]
        assert await asyncio.gather(*echoes) == payloads
        assert await asyncio.gather(*laters) == list(range(20))
        assert await asyncio.gather(*threads) == list(range(20))


async def test_the_end_of_a_connection_is_noticed_while_the_loop_spins() -> None:
    server = Server(Desk(), config=ServerConfig(spin_microseconds=LONG))
    async with server:
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(str(address), config=ClientConfig(spin_microseconds=LONG)) as client:
            waiting = asyncio.ensure_future(client.call(Desk.later, 10**9))
            await until(lambda: server.stats()["live"]["calls"] == 1)
            (session,) = server._gate.engines  # type: ignore[union-attr]
            session.abort()
            with pytest.raises(ConnectionLostError):
                await waiting
            await until(lambda: server.stats()["live"]["calls"] == 0)
            again = client.with_options(wait_for_ready=True)
            assert await again.call(Desk.echo, b"y") == b"y"


async def test_a_transport_around_another_is_not_passed_by() -> None:
    config = ClientConfig(spin_microseconds=LONG)
    with FaultyTransport(seed=3, delay=0.0, cut_after=4_000) as faulty:
        async with Server(Desk(), config=ServerConfig(spin_microseconds=LONG)) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            async with Client(faulty.address(str(address)), config=config) as client:
                with pytest.raises(fastrpc.errors.FastRPCError):
                    for _ in range(100):
                        await client.call(Desk.echo, bytes(500))
        assert faulty.cuts

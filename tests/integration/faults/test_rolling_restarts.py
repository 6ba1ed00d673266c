"""Two servers that restart by turns while calls of another protocol than the native one run: none of them fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import pytest

import fastrpc
from fastrpc import Address, Backoff, ClientConfig, Server, ServerConfig
from tests.support.either_client import CLIENTS, connected
from tests.support.fair_http import FairClients
from tests.support.http_talk import HttpClient, request
from tests.support.ledger import Journal, Ledger
from tests.support.noted import Noted
from tests.support.waiting import eventually

CONFIG = ServerConfig(protocols=("native", "rpcx", "grpc", "http"))


@fastrpc.service("work")
class Work:
    @fastrpc.method
    async def nap(self, seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds


class Pair:
    """Two servers, each of which restarts at its address."""

    def __init__(self, stack: contextlib.AsyncExitStack, make: Callable[[], Any]) -> None:
        self._stack = stack
        self._make = make
        self.servers: list[Server] = []
        self.addresses: list[Address] = []

    async def start(self, address: str | Address) -> None:
        server = await self._stack.enter_async_context(Server(self._make(), config=CONFIG))
        self.addresses.append(await server.listen(address))
        self.servers.append(server)

    def has_callers(self) -> bool:
        """Return whether each of them has a connected caller."""
        return all(server.stats()["live"]["connections"] for server in self.servers)

    async def restart(self) -> None:
        """Restart the one that serves for longest."""
        assert await self.servers.pop(0).drain() is True
        await self.start(self.addresses.pop(0))


@contextlib.asynccontextmanager
async def pair(make: Callable[[], Any]) -> AsyncIterator[Pair]:
    async with contextlib.AsyncExitStack() as stack:
        made = Pair(stack, make)
        for _ in range(2):
            await made.start("tcp://127.0.0.1:0")
        yield made


async def restarted(
    servers: Pair, times: int, ended: Callable[[], int], is_ready: Callable[[], bool] = lambda: True
) -> None:
    """Restart servers by turns, each once `is_ready` holds, with calls before, during and after each."""
    for _ in range(times):
        enough = ended() + 100
        await eventually(lambda: ended() > enough)  # noqa: B023 - awaited at once
        await eventually(is_ready)
        await servers.restart()
    enough = ended() + 100
    await eventually(lambda: ended() > enough)


async def test_a_rolling_restart_fails_no_request_over_kept_connections(scale: Any) -> None:
    async with pair(Work) as servers:
        clients = FairClients(list(servers.addresses), "/work/nap", {"seconds": 0.005})
        async with clients.running(24):
            await restarted(servers, scale(4), lambda: clients.answered)
    assert clients.failures == []
    # They were asked to leave, and called on over other connections.
    assert clients.connections > 24


@pytest.mark.one_loop
@pytest.mark.parametrize("protocol", ["rpcx", "grpc"])
@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_rolling_restart_fails_no_call_over_another_protocol(
    kind: str, protocol: Literal["rpcx", "grpc"], scale: Any
) -> None:
    journal, ledger = Journal(), Ledger()
    is_over = False
    config = ClientConfig(wire_protocol=protocol, backoff=Backoff(first=0.01, longest=0.05))

    async def caller(call: Callable[..., Awaitable[Any]], number: int) -> None:
        while not is_over:
            entry = ledger.begin(timeout=20)
            # None of them may run twice.
            await ledger.run(entry, call(Noted.once if number % 2 else Noted.lasting, entry.nonce))

    async with pair(lambda: Noted(journal)) as servers:
        async with connected(kind, [str(one) for one in servers.addresses], config=config) as client:
            async with asyncio.TaskGroup() as group:
                for number in range(16 if kind == "async" else 6):
                    group.create_task(caller(client.call, number))
                # The one that restarted last has to be found again before the other one goes.
                await restarted(servers, scale(2), lambda: ledger.ended, servers.has_callers)
                is_over = True
    assert [end for one in ledger.entries for _, end in one.ends if not isinstance(end, bytes)] == []
    assert ledger.problems(journal) == []


async def test_a_request_that_came_before_a_drain_is_answered_on_any_connection() -> None:
    """Connections that were accepted without a byte, whose first bytes were not read, and that nobody accepted."""
    async with pair(Work) as servers, contextlib.AsyncExitStack() as stack:
        [server, _], [address, _] = servers.servers, servers.addresses
        clients = [await stack.enter_async_context(await HttpClient.to(address)) for _ in range(8)]
        for client in clients[:4]:
            client.send(request("POST", "/work/nap", {"seconds": 0.0}))
        draining = asyncio.ensure_future(server.drain())
        await eventually(lambda: server.is_draining)
        for client in clients[4:]:
            client.send(request("POST", "/work/nap", {"seconds": 0.0}))
        answers = [await client.response() for client in clients]
        assert [answer.status for answer in answers] == [200] * 8
        assert all([await client.is_closed() for client in clients])
        assert await draining

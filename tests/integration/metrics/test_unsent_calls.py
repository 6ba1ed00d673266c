"""The metrics of calls that a client does not send: why, each once, and how long they waited for a place."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import fastrpc
from fastrpc import (
    Call,
    Client,
    ConnectionLostError,
    DeadlineExceededError,
    FastRPCError,
    Limits,
    PeerClient,
    Proceed,
    Server,
    ServerConfig,
    SyncClient,
    UnavailableError,
)
from tests.support.scrapes import scraped
from tests.support.waiting import eventually


@fastrpc.service("narrow")
class Narrow:
    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go = threading.Event()

    @fastrpc.method
    async def echo(self, number: int) -> int:
        return number

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    def hold(self) -> None:
        self.entered.set()
        self.go.wait(60)


@fastrpc.service("hub")
class Hub:
    def __init__(self) -> None:
        self.clients: list[PeerClient] = []

    @fastrpc.method
    async def enter(self) -> None:
        client = fastrpc.current_call().peer.client
        assert client is not None
        self.clients.append(client)


class Unsent:
    """The difference between two readings of the metrics."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        reasons = ("deadline", "unavailable")
        counts = {one: scraped("fastrpc_client_refused_total", reason=one) or 0.0 for one in reasons}
        for part in ("count", "sum"):
            counts[part] = scraped(f"fastrpc_client_queue_seconds_{part}") or 0.0
        return counts

    def __getitem__(self, name: str) -> float:
        return self._now()[name] - self._before[name]


@asynccontextmanager
async def dialled(is_blocking: bool, target: str, **options: Any) -> AsyncIterator[Any]:
    if is_blocking:
        blocking = SyncClient(target, **options)
        try:
            yield blocking
        finally:
            # It waits for the server, which runs on this loop.
            await asyncio.to_thread(blocking.close)
    else:
        async with Client(target, **options) as client:
            yield client


async def made(is_blocking: bool, call: Callable[..., Any], *args: Any) -> Any:
    return await (asyncio.to_thread(call, *args) if is_blocking else call(*args))


async def error_of(is_blocking: bool, call: Callable[..., Any], *args: Any) -> FastRPCError:
    with pytest.raises(FastRPCError) as caught:
        await made(is_blocking, call, *args)
    assert caught.value.processed == "no"
    return caught.value


@pytest.fixture(params=[False, True], ids=["client", "sync_client"])
def is_blocking(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@asynccontextmanager
async def taken(is_blocking: bool) -> AsyncIterator[tuple[Server, Any]]:
    """Yield a server whose only place is taken, and the client that knows it."""
    service = Narrow()
    async with Server(service, config=ServerConfig(limits=Limits(concurrent_calls=1))) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with dialled(is_blocking, target, fail_mode="failfast") as client:
            # By then it has heard of the limit.
            await made(is_blocking, client.call, Narrow.echo, 1)
            holding = asyncio.ensure_future(made(is_blocking, client.call, Narrow.hold))
            await asyncio.to_thread(service.entered.wait)
            try:
                yield server, client
            finally:
                service.go.set()
                await holding


async def test_calls_whose_time_ends_while_they_wait_for_a_place_are_counted(is_blocking: bool) -> None:
    async with taken(is_blocking) as (_, client):
        unsent, hurried, calls = Unsent(), client.with_options(timeout=0.05), 0
        async with asyncio.timeout(20):
            # On a machine that stalls the time of some is over before they wait.
            while unsent["count"] < 3:
                error = await error_of(is_blocking, hurried.call, Narrow.echo, 1)
                assert isinstance(error, DeadlineExceededError)
                await error_of(is_blocking, hurried.call_many, Narrow.echo, [(1,), (2,)])
                calls += 3
        assert unsent["deadline"] == calls
        assert unsent["count"] <= calls
        assert unsent["sum"] > 0
    # The call that had the place has not waited.
    assert (unsent["deadline"], unsent["unavailable"]) == (calls, 0)
    assert unsent["count"] <= calls


async def test_a_call_that_waits_while_its_server_begins_to_drain_is_counted(is_blocking: bool) -> None:
    async with taken(is_blocking) as (server, client):
        unsent = Unsent()
        waiting = asyncio.ensure_future(error_of(is_blocking, client.call, Narrow.echo, 1))
        await eventually(lambda: client.stats()["live"]["waiting"] == 1)
        drain = asyncio.ensure_future(server.drain(60))
        assert isinstance(await waiting, UnavailableError)
        assert (unsent["unavailable"], unsent["count"]) == (1, 1)
    await drain


async def test_calls_without_any_time_are_counted_each_once(is_blocking: bool) -> None:
    async with Server(Narrow()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with dialled(is_blocking, target) as client:
            late = client.with_options(timeout=0)
            for is_connected in (False, True):
                if is_connected:
                    await made(is_blocking, client.call, Narrow.echo, 1)
                unsent = Unsent()
                await error_of(is_blocking, late.call, Narrow.echo, 1)
                await error_of(is_blocking, late.call_many, Narrow.echo, [(1,), (2,)])
                await error_of(is_blocking, first_message if is_blocking else first_awaited, late)
                assert (unsent["deadline"], unsent["unavailable"], unsent["count"]) == (4, 0, 0)


@pytest.mark.parametrize(("timeout", "reason"), [(0, "deadline"), (None, "unavailable")])
async def test_calls_to_a_disconnected_client_are_counted_each_once(
    timeout: float | None, reason: str
) -> None:
    hub = Hub()
    async with Server(hub) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with Client(target, services=[Narrow()]) as client:
            await client.call(Hub.enter)
        async with asyncio.timeout(60):
            await hub.clients[0].wait_closed()
        gone, unsent = hub.clients[0].with_options(timeout=timeout), Unsent()
        await error_of(False, gone.call, Narrow.echo, 1)
        await error_of(False, gone.call_many, Narrow.echo, [(1,), (2,)])
        await error_of(False, first_awaited, gone)
        assert unsent[reason] == 4
        assert unsent["deadline"] + unsent["unavailable"] == 4
        errors = await gone.call_many(Narrow.echo, [(1,)], return_exceptions=True)
        assert [type(error) for error in errors] == [
            DeadlineExceededError if timeout == 0 else ConnectionLostError
        ]


async def test_a_call_whose_interceptor_used_up_its_time_is_counted_once(is_blocking: bool) -> None:
    async def slow(call: Call, proceed: Proceed) -> Any:
        await call.sleep(0.05)
        return await proceed(call)

    async with Server(Narrow()) as server:
        target = str(await server.listen("tcp://127.0.0.1:0"))
        async with dialled(is_blocking, target, interceptors=[slow]) as client:
            await made(is_blocking, client.call, Narrow.echo, 1)
            unsent, hurried = Unsent(), client.with_options(timeout=0.02)
            await error_of(is_blocking, hurried.call, Narrow.echo, 1)
            await error_of(is_blocking, first_message if is_blocking else first_awaited, hurried)
            assert unsent["deadline"] == 2


def first_message(client: SyncClient) -> int:
    return next(iter(client.stream(Narrow.count, 1)))


async def first_awaited(client: Client) -> int:
    return await anext(aiter(client.stream(Narrow.count, 1)))

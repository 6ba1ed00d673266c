"""`Pool.connections_per_endpoint="auto"`: under load one client uses all workers of a server."""

import asyncio
import contextlib
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import fastrpc
from fastrpc import Client, ClientConfig, ConfigError, Pool, Server, SyncClient
from fastrpc.client import crowd
from fastrpc.client.blocking.subchannel import SyncSubchannel
from fastrpc.client.endpoint_plan import CROWD_CALLS, EndpointPlan
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from tests.support.blocking import keep_the_loop
from tests.support.program import WAIT_SECONDS
from tests.support.running_workers import running

pytestmark = pytest.mark.one_loop

#: Calls at once: more than crowd four connections.
CALLS = 5 * (CROWD_CALLS + 4)


@fastrpc.service("held")
class Held:
    """Calls that last until they are let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    @fastrpc.method
    async def hold(self) -> None:
        await self.gate.wait()


async def all_workers(client: Client) -> Counter[int]:
    """Return who served, once four workers did."""
    served: Counter[int] = Counter()

    async def call() -> None:
        while len(served) < 4:
            served[await client.with_options(timeout=20).call("work.nap")] += 1

    async with asyncio.timeout(WAIT_SECONDS):
        await asyncio.gather(*(call() for _ in range(CALLS)))
    return served


@pytest.mark.parametrize("several", [False, True], ids=["one address", "a list"])
async def test_all_workers_serve_one_client_under_load(several: bool, tmp_path: Path) -> None:
    with running(tmp_path) as serving:
        target = [serving.address] if several else serving.address
        async with Client(target) as client:
            first = {await client.call("work.where") for _ in range(100)}
            # Without load there is one connection.
            assert len(first) == 1
            assert len(await all_workers(client)) == 4


async def test_a_loop_that_reads_all_answers_in_one_turn_gets_further_connections_as_well(
    tmp_path: Path,
) -> None:
    async def turn_slowly() -> None:
        while True:
            # The answers of all naps, and the next look at the connections, come meanwhile.
            keep_the_loop(0.04)
            await asyncio.sleep(0)

    with running(tmp_path) as serving:
        async with Client(serving.address) as client:
            slowly = asyncio.ensure_future(turn_slowly())
            try:
                assert len(await all_workers(client)) == 4
            finally:
                slowly.cancel()


def test_all_workers_serve_one_blocking_client_under_load(tmp_path: Path) -> None:
    with running(tmp_path) as serving, SyncClient(serving.address) as client:
        assert len({client.call("work.where") for _ in range(100)}) == 1
        served: set[int] = set()

        def call() -> None:
            while len(served) < 4:
                served.add(client.with_options(timeout=20).call("work.nap"))

        threads = [threading.Thread(target=call, daemon=True) for _ in range(CALLS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_SECONDS)
        assert len(served) == 4


class Load:
    """A client with calls in flight, and its connections."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._tasks: list[asyncio.Future[None]] = []

    async def hold(self, calls: int) -> None:
        """Have so many more calls in flight."""
        view = self.client.with_options(timeout=2 * WAIT_SECONDS)
        self._tasks += [asyncio.ensure_future(view.call("held.hold")) for _ in range(calls)]
        await self.until(lambda: self.client.stats()["live"]["calls"] == len(self._tasks))

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not is_so():
                await asyncio.sleep(0.005)

    @property
    def connections(self) -> int:
        count: int = self.client.stats()["live"]["connections"]
        return count

    @property
    def is_watched(self) -> bool:
        """Whether somebody looks for how long there are too many calls."""
        return self.client._pool.subchannels[0]._crowd._timer is not None

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def load(workers: int, width: Any = "auto") -> AsyncIterator[Load]:
    """Serve one client; the server says that it has the given number of workers."""
    async with Server(Held) as server:
        server.announce_workers(workers)
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address, config=ClientConfig(pool=Pool(connections_per_endpoint=width))) as client:
            made = Load(client)
            await client.ready()
            yield made
            await made.end()


async def test_a_further_connection_is_opened_once_each_one_has_too_many_calls() -> None:
    async with load(workers=3) as made:
        await made.hold(CROWD_CALLS)
        assert not made.is_watched
        await made.hold(1)
        await made.until(lambda: made.connections == 2)
        # The second connection has none of the calls.
        await made.until(lambda: not made.is_watched)
        await made.hold(4)
        await made.until(lambda: not made.is_watched)
        assert made.connections == 2
        await made.hold(4 * CROWD_CALLS)
        await made.until(lambda: made.connections == 3)
        await made.until(lambda: not made.is_watched)
        # There are no more workers.
        await made.hold(8 * CROWD_CALLS)
        assert not made.is_watched
        assert made.connections == 3


async def test_a_crowd_that_does_not_last_makes_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # A look every 20 ms, as usual, but none is the last: on a busy machine any crowd would last.
    monkeypatch.setattr(crowd, "LOOKS", 1_000_000)
    monkeypatch.setattr(crowd, "CROWD_SECONDS", 20_000.0)
    async with load(workers=4) as made:
        await made.hold(2 * CROWD_CALLS)
        assert made.is_watched
        await made.end()
        await made.until(lambda: not made.is_watched)
        assert made.connections == 1


@pytest.mark.parametrize(("workers", "width"), [(1, "auto"), (4, 1)])
async def test_one_connection_is_kept_for_one_worker_or_a_fixed_width(workers: int, width: Any) -> None:
    async with load(workers=workers, width=width) as made:
        await made.hold(CALLS)
        assert not made.is_watched
        assert made.connections == 1


async def test_a_client_that_serves_calls_has_one_connection() -> None:
    async with Server(Held) as server:
        server.announce_workers(4)
        address = await server.listen("tcp://127.0.0.1:0")
        async with Client(address, services=[Held]) as client:
            made = Load(client)
            await made.hold(CALLS)
            assert not made.is_watched
            await made.end()


def test_there_are_at_most_eight_connections() -> None:
    plan = EndpointPlan(Endpoint("tcp://127.0.0.1:1"), Backoff(), width="auto")
    widths = []
    for plan.workers in (1, 3, 20, 65_535):
        while plan.may_widen:
            plan.widen()
        widths.append(plan.width)
    assert widths == [1, 3, 8, 8]
    # A server that was started again with fewer workers has fewer connections.
    plan.workers = 2
    assert plan.width == 2


def test_a_thread_dials_once_a_crowd_has_lasted() -> None:
    subchannel = SyncSubchannel(Endpoint("tcp://127.0.0.1:1"), Backoff(), width="auto")
    engine = SimpleNamespace(peer=SimpleNamespace(workers=2))
    ready = SimpleNamespace(is_ready=True, engine=engine)
    subchannel.open_connections.append(cast(Any, ready))
    crowd = CROWD_CALLS + 1
    assert not subchannel.is_crowded(crowd, 10.0)
    assert not subchannel.is_crowded(crowd, 10.09)
    assert subchannel.is_crowded(crowd, 10.11)
    # That dial failed: the next one comes after the same pause.
    assert not subchannel.is_crowded(crowd, 10.15)
    assert subchannel.is_crowded(crowd, 10.22)
    assert subchannel.width == 2
    # There is no third worker.
    subchannel.open_connections.append(cast(Any, ready))
    assert not any(subchannel.is_crowded(crowd, 11.0 + step / 100) for step in range(50))


def test_a_crowd_with_a_pause_has_not_lasted() -> None:
    subchannel = SyncSubchannel(Endpoint("tcp://127.0.0.1:1"), Backoff(), width="auto")
    engine = SimpleNamespace(peer=SimpleNamespace(workers=2))
    ready = SimpleNamespace(is_ready=True, engine=engine)
    subchannel.open_connections.append(cast(Any, ready))
    for users, now in ((17, 1.0), (17, 1.09), (16, 1.095), (17, 1.11), (17, 1.19), (17, 2.0), (17, 2.09)):
        assert not subchannel.is_crowded(users, now), now


@pytest.mark.parametrize("width", ["Auto", "", 0, 1_025, True, None, 1.5])
def test_other_widths_are_refused(width: Any) -> None:
    with pytest.raises(ConfigError, match="connections_per_endpoint is .*, it must be a whole number from 1"):
        Pool(connections_per_endpoint=width)

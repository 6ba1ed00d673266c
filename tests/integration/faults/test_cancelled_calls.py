"""Many calls cancelled, expired or both: which side learns of it when, and which calls never start."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

import fastrpc
from fastrpc import Admission, Client, ClientConfig, DeadlineExceededError, Limits, Server, ServerConfig
from tests.support.ledger import Journal, Ledger, differences
from tests.support.noted import Noted
from tests.support.served import served
from tests.support.threaded_server import ThreadedServer
from tests.support.waiting import eventually

#: A loop that was blocked for so long counts as stalled, with some to spare (PROTOCOL.md: 20 ms).
STALL_SECONDS = 0.05

#: Time for steps of a few moments, on a machine with much other work.
PATIENT_SECONDS = 30.0

#: More calls than this take longer to be made by one client than they have time.
MANY = 20_000

#: The requests and cancels of so many calls are fewer bytes than a server reads before it starts calls again: five
#: turns of its loop (PROTOCOL.md), each of which finds at least 64 KiB of them.
READ_AT_ONCE = 4_000


@fastrpc.service("stalling")
class Stalling:
    """Notes when its handlers start and are cancelled; some of them keep the loop."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.told: dict[int, float] = {}
        self.is_blocking = threading.Event()
        self.may_go_on = threading.Event()

    @fastrpc.method
    async def wait(self, number: int) -> None:
        self.started.append(number)
        try:
            await asyncio.Event().wait()
        finally:
            self.told[number] = time.monotonic()

    @fastrpc.method
    async def quick(self, number: int) -> int:
        self.started.append(number)
        return number

    @fastrpc.method
    async def block(self) -> None:
        self.block_inline()

    @fastrpc.method
    async def block_later(self) -> None:
        await asyncio.sleep(0.05)
        self.block_inline()

    @fastrpc.method(inline=True)
    def block_inline(self) -> None:
        """Keep the loop until the test lets it go."""
        self.is_blocking.set()
        self.may_go_on.wait(2 * PATIENT_SECONDS)


def own_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return a factory of loops of the kind that this test runs in."""
    return type(asyncio.get_running_loop())


async def server_base(server: ThreadedServer) -> dict[str, Any]:
    stats = await server.stats()
    return {name: stats[name] for name in ("live", "buffered")}


async def returns_to(base: dict[str, Any], read: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Wait until the counts have their earlier values."""
    async with asyncio.timeout(PATIENT_SECONDS):
        while differences(base, await read()):
            pass


@pytest.mark.measures
async def test_cancelled_handlers_are_told_within_100_ms(scale: Any) -> None:
    stalling, count = Stalling(), min(scale(10_000), MANY)
    limits = Limits(concurrent_calls=count + 1)
    with ThreadedServer(stalling, config=ServerConfig(limits=limits), make_loop=own_loop()) as server:
        async with Client(server.address) as client:
            await client.ready()
            base = await server_base(server)
            tasks = [asyncio.create_task(client.call(Stalling.wait, number)) for number in range(count)]
            async with asyncio.timeout(20):
                while len(stalling.started) < count:
                    await asyncio.sleep(0.01)
            cancelled: dict[int, float] = {}
            for number, task in enumerate(tasks):
                task.cancel()
                cancelled[number] = time.monotonic()
                if number % 100 == 99:
                    # 10,000 a second: the test measures the way to a handler, not the work of 10,000 tasks here.
                    await asyncio.sleep(0.01)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
            await returns_to(base, lambda: server_base(server))
            await eventually(lambda: client.stats()["live"]["calls"] == 0)
            assert client.stats()["buffered"] == 0
    late = [number for number in range(count) if stalling.told[number] > cancelled[number] + 0.1]
    assert len(late) <= count // 1000


@pytest.mark.parametrize("blocker", ["block", "block_later", "block_inline"])
async def test_calls_that_expired_while_the_loop_was_blocked_never_start(blocker: str) -> None:
    stalling, count = Stalling(), READ_AT_ONCE
    config = ServerConfig(limits=Limits(concurrent_calls=count + 2))
    with ThreadedServer(stalling, config=config, make_loop=own_loop()) as server:
        async with Client(server.address, config=ClientConfig(early_calls="all")) as client:
            await client.call(Stalling.quick, -1)
            base, before = await server_base(server), client.stats()["live"]
            patient = client.with_options(timeout=PATIENT_SECONDS)
            blocking = asyncio.create_task(patient.call(getattr(Stalling, blocker)))
            await asyncio.to_thread(stalling.is_blocking.wait, PATIENT_SECONDS)
            view = client.with_options(timeout=0.05)
            calls = (view.call(Stalling.quick, number) for number in range(count))
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result) for result in results} == {DeadlineExceededError}
            # The notice for the server that they are over has left this thread.
            await eventually(lambda: client.stats()["buffered"] == 0)
            stalling.may_go_on.set()
            await blocking
            await returns_to(base, lambda: server_base(server))
            await eventually(lambda: client.stats()["live"] == before)
            # Calls that still have time are not taken for old ones.
            assert await client.call(Stalling.quick, -2) == -2
    assert stalling.started == [-1, -2]


async def test_cancels_that_came_while_the_loop_was_blocked_count(scale: Any) -> None:
    stalling, count = Stalling(), min(scale(2_000), Limits().concurrent_calls - 1)
    config = ServerConfig(admission=Admission(queue_age=PATIENT_SECONDS))
    with ThreadedServer(stalling, config=config, make_loop=own_loop()) as server:
        async with Client(server.address) as client:
            await client.call(Stalling.quick, -1)
            patient = client.with_options(timeout=PATIENT_SECONDS)
            blocking = asyncio.create_task(patient.call(Stalling.block))
            await asyncio.to_thread(stalling.is_blocking.wait, PATIENT_SECONDS)
            tasks = [asyncio.create_task(patient.call(Stalling.quick, number)) for number in range(count)]
            await eventually(lambda: client.stats()["live"]["calls"] == count + 1)
            for task in tasks[1::2]:
                task.cancel()
            await asyncio.wait(tasks[1::2])
            await eventually(lambda: client.stats()["buffered"] == 0)
            await asyncio.sleep(STALL_SECONDS)
            stalling.may_go_on.set()
            results = await asyncio.gather(*tasks[0::2])
            await asyncio.gather(*tasks[1::2], return_exceptions=True)
            await blocking
            await eventually(lambda: client.stats()["live"]["calls"] == 0)
    assert results == list(range(0, count, 2))
    assert stalling.started == [-1, *range(0, count, 2)]


async def test_calls_start_in_order_after_a_stall() -> None:
    stalling = Stalling()
    config = ServerConfig(admission=Admission(queue_age=PATIENT_SECONDS))
    with ThreadedServer(stalling, config=config, make_loop=own_loop()) as server:
        async with Client(server.address) as client:
            await client.ready()
            blocking = asyncio.create_task(client.call(Stalling.block))
            await asyncio.to_thread(stalling.is_blocking.wait, 5)
            tasks = [asyncio.create_task(client.call(Stalling.quick, number)) for number in range(500)]
            await eventually(lambda: client.stats()["live"]["calls"] == 501)
            await asyncio.sleep(STALL_SECONDS)
            stalling.may_go_on.set()
            results = await asyncio.gather(*tasks)
            await blocking
    assert results == list(range(500)) == stalling.started


@pytest.mark.parametrize("limit", [1, 100])
@pytest.mark.parametrize("scheme", ["tcp", "memory"])
async def test_the_limit_of_calls_is_never_exceeded(limit: int, scheme: str, scale: Any) -> None:
    journal, ledger, random = Journal(), Ledger(), Random(limit)
    noted = Noted(journal)
    config = ServerConfig(limits=Limits(concurrent_calls=limit, streams=min(limit, 10)))
    async with served(noted, scheme=scheme, config=config) as target, Client(target) as client:
        await client.ready()
        await eventually(lambda: client.stats()["buffered"] == 0)
        base = live(client, target.server)

        async def caller() -> None:
            entry = ledger.begin(timeout=30)
            view = client.with_options(timeout=30)
            task = asyncio.ensure_future(ledger.run(entry, view.call(Noted.once, entry.nonce)))
            await asyncio.sleep(0)
            if random.random() < 0.3:
                for _ in range(random.randint(1, 200)):
                    await asyncio.sleep(0)
                task.cancel()
            await asyncio.wait([task])

        await asyncio.gather(*(caller() for _ in range(scale(500))))
        await eventually(lambda: live(client, target.server) == base)
    assert 0 < noted.most_running <= limit
    assert ledger.problems(journal) == []
    ends = [entry.ends[0][1] for entry in ledger.entries]
    assert all(isinstance(end, bytes | asyncio.CancelledError) for end in ends), set(map(type, ends))


def live(client: Client, server: Server) -> list[dict[str, Any]]:
    return [{name: part.stats()[name] for name in ("live", "buffered")} for part in (client, server)]

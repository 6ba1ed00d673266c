"""The complaints about other systems, each as a test of `@subscriber` in a server, on every broker.

The last one, "acknowledged" that is not on a disk, is in test_brokers.py: `sync` is named and checked at start-up.
"""

import asyncio
import contextlib
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import Backoff, Message, Server, Topic
from fastrpc.brokers import Broker, open_broker
from fastrpc.brokers.base import GroupState
from tests.support.kept_process import ROOT
from tests.support.messages.places import BROKERS, KEPT, LEASE_SECONDS, SHARED, broker_place
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

JOBS = Topic("jobs", int)
GROUP = "work.job"
SOON = Backoff(first=0.05, factor=1, longest=0.05, jitter=0)

#: A server whose handlers of the group never end; it reports each message that it has.
WORKER = """
import asyncio, sys
import fastrpc

@fastrpc.service("work")
class Work:
    @fastrpc.subscriber(fastrpc.Topic("jobs", int), concurrency=5, timeout=None)
    async def job(self, number: int) -> None:
        print("has", number, flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", number, flush=True)

async def main():
    async with fastrpc.Server(Work, broker=sys.argv[1]):
        print("takes", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with broker_place(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
async def shop(url: str) -> AsyncIterator[Broker]:
    """The broker of the publisher, and of servers in this process."""
    async with open_broker(url) as broker:
        await broker.declare(JOBS)
        yield broker


each_broker = pytest.mark.parametrize("url", BROKERS, indirect=True)
each_shared_broker = pytest.mark.parametrize("url", SHARED, indirect=True)


def working(handle: Callable[[Message[int]], Awaitable[None]], **options: Any) -> type[Any]:
    """Return a service with one subscriber, whose group begins at the oldest message."""
    options = {"backoff": SOON, **options}

    @fastrpc.service("work")
    class Work:
        @fastrpc.subscriber(JOBS, start="oldest", **options)
        async def job(self, message: Message[int]) -> None:
            await handle(message)

    return Work


class Handler:
    """Notes each delivery, and returns once it may."""

    def __init__(self, *, may_end: bool = False) -> None:
        self.seen: list[tuple[int, int]] = []
        self.under_way = 0
        self.ended: list[str] = []
        self.may_end = asyncio.Event()
        if may_end:
            self.may_end.set()

    async def __call__(self, message: Message[int]) -> None:
        self.seen.append((message.value, message.delivery))
        self.under_way += 1
        try:
            await self.may_end.wait()
            self.ended.append("returned")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            self.under_way -= 1


async def state_of(shop: Broker) -> GroupState:
    return next(one for one in await shop.groups() if one.name == GROUP)


async def until_settled(shop: Broker) -> None:
    """Wait until the group has nothing to do."""
    async with asyncio.timeout(20):
        while (await state_of(shop)).lag:
            await asyncio.sleep(0.01)


def counts_drains(url: str) -> bool:
    """Return whether a message that is handed back has one delivery more: the server of NATS counts it."""
    return url.startswith("nats://")


# An exception, or a cancel at shutdown, acknowledges


@each_broker
async def test_an_exception_does_not_acknowledge(shop: Broker) -> None:
    seen: list[int] = []

    async def handle(message: Message[int]) -> None:
        seen.append(message.delivery)
        if len(seen) < 3:
            raise LookupError("no such customer")

    async with Server(working(handle), broker=shop):
        await shop.publish(JOBS, 1)
        await eventually(lambda: len(seen) == 3)
        await until_settled(shop)
    assert seen == [1, 2, 3]
    assert (await state_of(shop)).dead == 0


@each_broker
async def test_a_cancel_at_shutdown_does_not_acknowledge_and_a_drain_counts_nothing(
    url: str, shop: Broker
) -> None:
    handler = Handler()
    await shop.publish(JOBS, 1)
    for shutdown in range(3):
        server = Server(working(handler, deliveries=2), broker=shop)
        await server.start()
        await eventually(lambda: len(handler.seen) > shutdown)  # noqa: B023
        assert await server.drain(0) is False
    assert handler.ended == ["cancelled"] * 3
    assert handler.seen == ([(1, 1), (1, 2), (1, 3)] if counts_drains(url) else [(1, 1)] * 3)
    # Shutdowns fill no dead letters.
    state = await state_of(shop)
    assert (state.lag, state.dead) == (1, 0)


# A killed worker keeps its messages; a removed group loops


@contextlib.asynccontextmanager
async def worker(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A server in a separate process, once it takes messages."""
    command = (sys.executable, "-c", WORKER, url)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    try:
        assert await line_of(process) == "takes"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return (await process.stdout.readline()).decode().strip()


@each_shared_broker
async def test_messages_of_a_killed_worker_come_to_another(url: str, shop: Broker) -> None:
    handler = Handler(may_end=True)
    async with worker(url) as process:
        await shop.publish_many(JOBS, [1, 2, 3])
        assert {await line_of(process) for _ in range(3)} == {"has 1", "has 2", "has 3"}
        async with Server(working(handler), broker=shop):
            process.kill()
            await until_settled(shop)
    assert sorted(handler.seen) == [(1, 2), (2, 2), (3, 2)]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_messages_of_a_killed_process_come_to_the_next_one_with_its_folder(url: str) -> None:
    async with worker(url) as process:
        process.kill()
        await process.wait()
    # The group exists from the first start on.
    async with open_broker(url) as shop:
        await shop.publish_many(JOBS, [1, 2, 3])
    async with worker(url) as process:
        assert {await line_of(process) for _ in range(3)} == {"has 1", "has 2", "has 3"}
        process.kill()
        await process.wait()
    handler = Handler(may_end=True)
    async with open_broker(url) as shop, Server(working(handler), broker=shop):
        await until_settled(shop)
    # The process was the broker as well: its file counts deliveries that ended.
    assert sorted(value for value, _ in handler.seen) == [1, 2, 3]


@pytest.mark.parametrize("url", KEPT, indirect=True)
async def test_a_worker_that_is_stopped_for_twice_its_lease_loses_its_messages(
    url: str, shop: Broker
) -> None:
    handler = Handler(may_end=True)
    async with worker(url) as process:
        await shop.publish(JOBS, 1)
        assert await line_of(process) == "has 1"
        process.send_signal(signal.SIGSTOP)
        async with Server(working(handler), broker=shop):
            await asyncio.gather(until_settled(shop), asyncio.sleep(2 * LEASE_SECONDS))
            # A server of NATS may have sent it to the stopped one again.
            ((value, delivery),) = handler.seen
            assert (value, delivery >= 2) == (1, True)
            process.send_signal(signal.SIGCONT)
            # Its handler is cancelled, and acknowledges nothing.
            assert await line_of(process) == "cancelled 1"
    assert (await state_of(shop)).lag == 0


@each_broker
async def test_a_removed_group_begins_anew_and_does_not_loop(
    shop: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler(may_end=True)
    async with Server(working(handler), broker=shop):
        await shop.publish(JOBS, 1)
        await eventually(lambda: handler.seen == [(1, 1)])
        await until_settled(shop)
        await shop.remove_group(GROUP)
        await shop.publish(JOBS, 2)
        await eventually(lambda: (2, 1) in handler.seen)
    assert len([one for one in caplog.records if "subscribes again" in one.getMessage()]) == 1


# A long task runs twice, or for ever


@each_broker
async def test_a_long_task_runs_once(url: str, shop: Broker) -> None:
    handlers = [Handler(), Handler()]
    async with (
        open_broker(url) if not url.startswith("sqlite") else contextlib.nullcontext(shop) as other,
        Server(working(handlers[0]), broker=shop),
        Server(working(handlers[1]), broker=other),
    ):
        await shop.publish(JOBS, 1)
        await eventually(lambda: any(one.seen for one in handlers))
        # One process has no leases.
        await asyncio.sleep(0 if url.startswith(("memory", "sqlite")) else 2.5 * LEASE_SECONDS)
        assert (await state_of(shop)).under_way == 1
        for one in handlers:
            one.may_end.set()
        await until_settled(shop)
    assert [seen for one in handlers for seen in one.seen] == [(1, 1)]


@each_broker
async def test_a_task_that_exceeds_its_timeout_is_cancelled_and_counted(shop: Broker) -> None:
    handler = Handler()
    async with Server(working(handler, timeout=0.1, deliveries=2), broker=shop):
        await shop.publish(JOBS, 1)
        await until_settled(shop)
    assert handler.seen == [(1, 1), (1, 2)]
    assert handler.ended == ["cancelled", "cancelled"]
    (dead,) = await shop.dead_letters(GROUP)
    assert (dead.deliveries, dead.reason) == (2, "deliveries")


# More messages are taken than workers are free


@each_broker
async def test_no_more_messages_are_taken_than_handlers_are_free(shop: Broker) -> None:
    handlers = [Handler(), Handler()]
    async with (
        Server(working(handlers[0], concurrency=2), broker=shop),
        Server(working(handlers[1], concurrency=2), broker=shop),
    ):
        await shop.publish_many(JOBS, list(range(12)))
        await eventually(lambda: [one.under_way for one in handlers] == [2, 2])
        state = await state_of(shop)
        assert (state.under_way, state.lag) == (4, 12)
        handlers[0].may_end.set()
        # The busy one holds no message that the free one could start.
        await eventually(lambda: len(handlers[0].seen) == 10)
        assert handlers[1].under_way == len(handlers[1].seen) == 2
        handlers[1].may_end.set()
        await until_settled(shop)
    counted = Counter(value for one in handlers for value, _ in one.seen)
    assert counted == dict.fromkeys(range(12), 1)


# Retries are counted in the process


@each_broker
async def test_retries_are_counted_by_the_broker_over_all_servers(shop: Broker) -> None:
    seen: list[int] = []

    async def handle(message: Message[int]) -> None:
        seen.append(message.delivery)
        raise LookupError("no such customer")

    # One delivery in each server.
    await shop.publish(JOBS, 1, id="1")
    for number in range(3):
        async with Server(working(handle, deliveries=3), broker=shop):
            await eventually(lambda: len(seen) > number)  # noqa: B023
    await until_settled(shop)
    assert sorted(set(seen)) == [1, 2, 3]
    (dead,) = await shop.dead_letters(GROUP)
    assert (dead.id, dead.deliveries, dead.reason) == ("1", 3, "deliveries")
    assert "no such customer" in dead.error


# One that cannot be handled


@each_broker
async def test_one_undecodable_value_among_a_thousand_becomes_a_dead_letter_and_the_others_are_handled(
    shop: Broker,
) -> None:
    handler = Handler(may_end=True)
    values: list[Any] = list(range(1_000))
    values[500] = "five hundred"
    async with Server(working(handler, concurrency=50), broker=shop):
        for first in range(0, 1_000, 250):
            part = values[first : first + 250]
            await shop.publish_many("jobs", part, ids=[f"job-{first + place}" for place in range(250)])
        await until_settled(shop)
    assert sorted(handler.seen) == [(number, 1) for number in range(1_000) if number != 500]
    (dead,) = await shop.dead_letters(GROUP)
    assert (dead.id, dead.body, dead.deliveries) == ("job-500", b'"five hundred"', 1)
    assert dead.reason == "the value does not decode"

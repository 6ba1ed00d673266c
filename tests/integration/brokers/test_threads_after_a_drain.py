"""Handlers in threads that outlast the end of their server: their messages go to nobody while they run."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import fastrpc
from fastrpc import Admission, Server, ServerConfig, Timeouts, Topic
from fastrpc._core.server.memory_budget import bytes_held
from fastrpc.brokers import Broker, Subscription, open_broker
from fastrpc.brokers.remote.server import BrokerServer
from tests.support.waiting import eventually

jobs = Topic("jobs", int)


class Threads:
    """A service whose handlers run in threads until they may return."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.calls: list[Any] = []
        self.may_return = threading.Event()
        self.service = self.service_of()

    def service_of(self, **options: Any) -> Any:
        threads = self

        @fastrpc.service("blocked")
        class Blocked:
            @fastrpc.subscriber(jobs, **options)
            def job(self, number: int) -> None:
                threads.calls.append(fastrpc.current_call())
                threads.began.append(number)
                threads.may_return.wait()

        return Blocked()


@pytest.fixture
def threads() -> Any:
    threads = Threads()
    try:
        yield threads
    finally:
        threads.may_return.set()


@pytest.fixture
async def broker() -> AsyncIterator[BrokerServer]:
    async with BrokerServer("tcp://127.0.0.1:0") as server:
        yield server


@pytest.fixture
async def shop(broker: BrokerServer) -> AsyncIterator[Broker]:
    async with open_broker(broker.url) as shop:
        await shop.declare(jobs)
        yield shop


async def drain(server: Server) -> None:
    assert await server.drain(0.01) is False


async def close(server: Server) -> None:
    await server.close()


async def remove(server: Server) -> None:
    assert await server.remove("blocked", 0.01) is False


async def taken(messages: Subscription[int]) -> tuple[int, int]:
    """Return value and delivery of the next message, and acknowledge it."""
    message = await anext(messages)
    assert await message.ack()
    return message.value, message.delivery


@pytest.mark.parametrize("end", [drain, close, remove])
async def test_message_of_a_thread_is_taken_until_the_thread_returns(
    threads: Threads, shop: Broker, end: Callable[[Server], Awaitable[None]]
) -> None:
    server = Server(threads.service, broker=shop)
    await server.start()
    await shop.publish(jobs, 1)
    await eventually(lambda: threads.began)
    await end(server)
    async with shop.subscribe(jobs, group="blocked.job") as others:
        await shop.publish(jobs, 2)
        assert await taken(others) == (2, 1)
        assert [(one.lag, one.under_way, one.members) for one in await shop.groups()] == [(1, 1, 2)]
        threads.may_return.set()
        assert await taken(others) == (1, 2)
        while (await shop.groups())[0].members > 1:
            await asyncio.sleep(0)
    await server.close()


async def test_message_that_waited_for_a_thread_is_handed_back_uncounted(
    threads: Threads, shop: Broker
) -> None:
    config = ServerConfig(admission=Admission(handler_threads=1))
    async with Server(threads.service, broker=shop, config=config) as server:
        await shop.publish_many(jobs, [1, 2])
        await eventually(lambda: threads.began)
        await drain(server)
        async with shop.subscribe(jobs, group="blocked.job") as others:
            assert await taken(others) == (2, 1)
            threads.may_return.set()
            assert await taken(others) == (1, 2)
    assert threads.began == [1]


async def test_thread_that_outlived_the_drain_also_keeps_its_message(threads: Threads, shop: Broker) -> None:
    async with Server(threads.service_of(timeout=0.01), broker=shop) as server:
        await shop.publish(jobs, 1)
        await eventually(lambda: threads.calls and threads.calls[0].cancelled)
        await drain(server)
        async with shop.subscribe(jobs, group="blocked.job") as others:
            await shop.publish(jobs, 2)
            assert await taken(others) == (2, 1)
            threads.may_return.set()
            assert await taken(others) == (1, 2)


async def test_end_of_the_broker_counts_the_message_of_a_thread(
    threads: Threads, broker: BrokerServer, shop: Broker
) -> None:
    async with shop.subscribe(jobs, group="blocked.job", in_flight=1) as others:
        await shop.publish(jobs, 0)
        held = await anext(others)
        # Its own connection is closed with the server.
        config = ServerConfig(timeouts=Timeouts(drain=0.01))
        async with Server(threads.service, broker=broker.url, config=config):
            await shop.publish(jobs, 1)
            await eventually(lambda: threads.began)
        assert await held.ack()
        assert await taken(others) == (1, 2)
        # The call ends on the loop: after the end of the loop it would keep its record for ever.
        before = bytes_held()
        threads.may_return.set()
        await eventually(lambda: bytes_held() < before)

"""The events of the design's table that only processes, networks and disks can show, on every broker that claims them.

Failures of handlers and subscribers are in test_broker_complaints.py.
"""

import asyncio
import contextlib
import errno
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, Status, Topic
from fastrpc.brokers import Broker, open_broker
from tests.support.cluster import in_thread
from tests.support.disk_and_clock import DiskAndClock
from tests.support.messages.broker_process import HostedBroker
from tests.support.messages.kept import KeptBroker, kept_broker
from tests.support.messages.places import BROKERS, KEPT, SHARED, broker_place
from tests.support.proxy import FaultProxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

ORDERS = Topic("orders.new", int)


@pytest.fixture
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with broker_place(request.param, request, tmp_path) as url:
        yield url


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[KeptBroker]:
    """A broker in a separate process."""
    with kept_broker(request.param, request, tmp_path).running() as place:
        yield place


each_kept_broker = pytest.mark.parametrize("place", KEPT, indirect=True)


def through(proxy: FaultProxy, url: str) -> str:
    """Return the URL of a broker reached through a proxy."""
    scheme, _, rest = url.partition("://")
    _, mark, options = rest.partition("?")
    return f"{scheme}{proxy.address.removeprefix('tcp')}{mark}{options}"


def target_of(url: str) -> str:
    return f"tcp://{url.partition('://')[2].partition('?')[0]}"


async def lag_of(broker: Broker, group: str = "audit") -> int:
    return next(one.lag for one in await broker.groups() if one.name == group)


async def until_lag(broker: Broker, lag: int) -> None:
    async with asyncio.timeout(20):
        while await lag_of(broker) != lag:
            await asyncio.sleep(0.01)


async def make_group(broker: Broker) -> None:
    async with broker.subscribe(ORDERS, group="audit"):
        pass


# A publisher dies before its ack


@pytest.mark.parametrize("url", SHARED, indirect=True)
async def test_the_same_id_of_a_publisher_that_died_is_kept_once(url: str) -> None:
    async with FaultProxy(target_of(url)) as proxy, open_broker(url) as near:
        await make_group(near)
        async with open_broker(through(proxy, url)) as dying:
            # The connection stands, and knows the topic.
            await dying.publish(ORDERS, 0, id="order-0")
            proxy.downstream.hold()
            publishing = asyncio.ensure_future(dying.publish(ORDERS, 1, id="order-1"))
            await until_lag(near, 2)
            publishing.cancel()
            proxy.reset_all()
        assert (await near.publish(ORDERS, 1, id="order-1")).is_duplicate
        assert await lag_of(near) == 2


# The broker dies before the commit, or after it


@each_kept_broker
async def test_a_message_that_a_dead_broker_did_not_keep_is_published_again(place: KeptBroker) -> None:
    async with open_broker(place.url) as broker:
        await make_group(broker)
        await broker.publish(ORDERS, 0, id="order-0")
        place.signal(signal.SIGSTOP)
        with fastrpc.timeout(60):
            publishing = asyncio.ensure_future(broker.publish(ORDERS, 1, id="order-1"))
        # If the message has left, it is in the buffers of the operating system.
        await asyncio.sleep(0)
        place.kill()
        await in_thread(place.start)
        assert not (await publishing).is_duplicate
        assert await lag_of(broker) == 2


@each_kept_broker
async def test_a_message_that_a_dead_broker_kept_is_a_duplicate(place: KeptBroker) -> None:
    async with FaultProxy(target_of(place.url)) as proxy, open_broker(place.url) as near:
        await make_group(near)
        async with open_broker(through(proxy, place.url)) as broker:
            await broker.publish(ORDERS, 0, id="order-0")
            proxy.downstream.hold()
            with fastrpc.timeout(60):
                publishing = asyncio.ensure_future(broker.publish(ORDERS, 1, id="order-1"))
            await until_lag(near, 2)
            place.kill()
            relays = list(proxy.relays)
            proxy.reset_all()
            # The answer is lost with its connection.
            await eventually(lambda: not any(one in proxy.relays for one in relays))
            proxy.downstream.resume()
            await in_thread(place.start)
            assert (await publishing).is_duplicate
        assert await lag_of(near) == 2


# The broker comes back


@each_kept_broker
async def test_a_group_continues_where_it_was_and_repeats_what_has_no_ack(place: KeptBroker) -> None:
    async with open_broker(place.url) as broker:
        async with broker.subscribe(ORDERS, group="audit") as messages:
            for number in range(3):
                await broker.publish(ORDERS, number, id=f"order-{number}")
            held = [await anext(messages) for _ in range(2)]
            assert await held[0].ack()
            # nats-server writes the state of a consumer after its confirmation, and when it ends.
            if place.url.startswith("nats"):
                await in_thread(place.stop, signal.SIGINT)
            else:
                place.kill()
            await in_thread(place.start)
            found: list[int] = []
            async with asyncio.timeout(30):
                while sorted(set(found)) != [1, 2]:
                    # A broker that was away for a long time raises an error, after which the iterator continues.
                    with contextlib.suppress(BrokerError):
                        message = await anext(messages)
                        found.append(message.value)
                        await message.ack()
            assert 0 not in found


# A group is too slow


@pytest.mark.parametrize("url", BROKERS, indirect=True)
async def test_a_log_drops_unread_messages_of_a_slow_group_and_reports_them(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    short = Topic("short", int, keep_seconds=1)
    async with open_broker(url) as broker, broker.subscribe(short, group="slow", in_flight=1) as messages:
        # Ten are published in the time of one.
        await broker.publish_many(short, list(range(10)))
        handled = [await anext(messages)]
        await handled[0].ack()
        async with asyncio.timeout(20):
            while not (state := next(one for one in await broker.groups() if one.name == "slow")).expired:
                await asyncio.sleep(0.2)
                await broker.publish(short, 10)
        assert state.expired <= 10
        # A member of NATS sees the gap before the next existing message.
        for _ in range(2):
            await (await anext(messages)).ack()

        def is_told() -> bool:
            errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
            return any("the group slow" in text for text in errors)

        await eventually(is_told)


@pytest.mark.parametrize("url", [kind for kind in BROKERS if kind != "redis"], indirect=True)
async def test_a_queue_full_of_messages_of_a_slow_group_refuses_further_ones(url: str) -> None:
    jobs = Topic("jobs", bytes, keep_seconds=None, groups=("slow",), max_bytes=100_000)
    async with open_broker(url) as broker, broker.subscribe(jobs, group="slow", in_flight=1) as messages:
        published = 0
        with fastrpc.timeout(0.5), pytest.raises((BrokerError, TimeoutError)) as caught:
            while True:
                await broker.publish(jobs, b"x" * 5_000)
                published += 1
        if isinstance(caught.value, BrokerError):
            assert caught.value.status is Status.RESOURCE_EXHAUSTED
        handled = 0
        async with asyncio.timeout(20):
            while handled < published:
                await (await anext(messages)).ack()
                handled += 1
        await broker.publish(jobs, b"x" * 5_000)


# The disk is full, a sync fails, the wall clock jumps


class FaultyBroker(HostedBroker):
    """`fastrpc broker` with the disk and the clock of the test."""

    def __init__(self, folder: Path, faults: DiskAndClock) -> None:
        super().__init__(folder)
        self._faults = faults

    def command(self) -> list[str]:
        variables = [f"{name}={value}" for name, value in self._faults.environment.items()]
        return ["env", *variables, *super().command()]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskAndClock]:
    with DiskAndClock(tmp_path_factory.mktemp("faults")) as faults:
        yield faults


@pytest.fixture
def faulty(faults: DiskAndClock, tmp_path: Path) -> Iterator[FaultyBroker]:
    faults.set()
    with FaultyBroker(tmp_path, faults).running() as broker:
        yield broker


async def test_a_full_disk_refuses_messages_and_keeps_acks(
    faulty: FaultyBroker, faults: DiskAndClock
) -> None:
    async with open_broker(faulty.url) as broker, broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish(ORDERS, 1)
        message = await anext(messages)
        small: tuple[dict[str, Any], ...] = (
            {"is_small": True},
            {"is_small": True, "write_error": errno.ENOSPC},
        )
        for fault in small:
            faults.set(**fault)
            with pytest.raises(BrokerError, match="disk of the broker is full") as caught:
                await broker.backend.publish([outgoing(b"2")])
            assert (caught.value.status, caught.value.processed) == (Status.RESOURCE_EXHAUSTED, "no")
        faults.set(is_small=True)
        assert await message.ack()
        faults.set()
        await broker.publish(ORDERS, 3)
        assert (await anext(messages)).value == 3


def outgoing(body: bytes) -> Any:
    from fastrpc.brokers.base import OutgoingMessage

    return OutgoingMessage("orders.new", body)


@pytest.mark.parametrize("fault", ["write_error", "sync_error"])
async def test_a_broker_that_cannot_be_written_ends_and_says_so(
    faulty: FaultyBroker, faults: DiskAndClock, fault: str
) -> None:
    async with open_broker(faulty.url) as broker:
        await broker.publish(ORDERS, 1)
        faults.set(**{fault: errno.EIO})  # type: ignore[arg-type]
        with pytest.raises(BrokerError, match="the broker cannot be written|away|refused|lost|closed"):
            # Into the log, then from the log into the file: several times what the log holds, as
            # publishers go on while the messages are moved.
            for _ in range(512):
                await broker.backend.publish([outgoing(b"x" * 256 * 1024)])
    await eventually(lambda: "the broker cannot be written" in faulty.written())


@pytest.mark.parametrize("jump", [86_400, -86_400])
async def test_a_wall_clock_that_jumps_moves_no_delay_of_a_running_broker(
    faulty: FaultyBroker, faults: DiskAndClock, jump: int
) -> None:
    async with open_broker(faulty.url) as broker, broker.subscribe(ORDERS, group="audit") as messages:
        await broker.publish(ORDERS, 2, delay=1.5)
        faults.set(clock_seconds=jump)
        await broker.publish(ORDERS, 1)
        # The message without a delay comes first, and the other one in its time.
        assert [(await anext(messages)).value for _ in range(2)] == [1, 2]


async def test_delays_follow_the_wall_clock_across_a_restart(
    faulty: FaultyBroker, faults: DiskAndClock
) -> None:
    async with open_broker(faulty.url) as broker:
        await make_group(broker)
        await broker.publish(ORDERS, 1, delay=3_600)
        faulty.kill()
        faults.set(clock_seconds=3_700)
        await in_thread(faulty.start)
        async with broker.subscribe(ORDERS, group="audit") as messages:
            assert (await anext(messages)).value == 1

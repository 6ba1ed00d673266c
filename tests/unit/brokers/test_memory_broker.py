"""The broker in memory: the contract, and its own features."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from fastrpc.brokers.base import BrokerBackend, Delivery, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.memory import MemoryBroker, open_memory
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.testing import FakeClock
from fastrpc.testing.broker_contract import BrokerContract
from tests.support.messages.stopped import Times, stopped_memory

LOG = TopicSettings("a")
GROUP = GroupSettings("g", "a")


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture
def clock(times: Times) -> FakeClock:
    return times.clock


@pytest.fixture
async def broker(times: Times) -> AsyncIterator[MemoryBroker]:
    async with stopped_memory(times) as broker:
        yield broker


class TestContract(BrokerContract):
    """It keeps the contract."""

    @pytest.fixture
    async def broker(self, times: Times) -> AsyncIterator[BrokerBackend]:
        self.times = times
        async with stopped_memory(times) as broker:
            yield broker

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        assert isinstance(broker, MemoryBroker)
        self.times.advance(seconds, broker)


async def publish(broker: BrokerBackend, *bodies: bytes) -> None:
    await broker.publish([OutgoingMessage("a", body) for body in bodies])


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_the_longest_wait_gets_the_first_message(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    members = [await broker.join(GROUP) for _ in range(3)]
    takes = [asyncio.ensure_future(member.take(10)) for member in members]
    await turns()
    await publish(broker, b"1")
    await publish(broker, b"2", b"3", b"4")
    found = await asyncio.gather(*takes)
    assert [[one.body for one in taken] for taken in found] == [[b"1"], [b"2", b"4"], [b"3"]]


async def test_a_take_that_was_cancelled_in_the_turn_of_its_messages_returns_them(
    broker: MemoryBroker,
) -> None:
    await broker.declare(LOG)
    first, second = [await broker.join(GROUP) for _ in range(2)]
    cancelled = asyncio.ensure_future(first.take(2))
    await turns()
    await publish(broker, b"1", b"2")
    waiting = asyncio.ensure_future(second.take(2))
    cancelled.cancel()
    found = await waiting
    assert cancelled.cancelled()
    assert [(one.body, one.delivery) for one in found] == [(b"1", 1), (b"2", 1)]


async def test_a_cancelled_take_gets_no_message(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    first, second = [await broker.join(GROUP) for _ in range(2)]
    cancelled = asyncio.ensure_future(first.take(1))
    waiting = asyncio.ensure_future(second.take(1))
    await turns()
    cancelled.cancel()
    await publish(broker, b"1")
    assert [(one.body, one.delivery) for one in await waiting] == [(b"1", 1)]
    assert cancelled.cancelled()


async def test_messages_of_one_turn_are_handed_over_in_one_list(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    member = await broker.join(GROUP)
    taking = asyncio.ensure_future(member.take(3))
    await turns()
    for number in range(4):
        await publish(broker, b"%d" % number)
    assert [one.body for one in await taking] == [b"0", b"1", b"2"]


async def test_a_thousand_waiting_members_share_a_thousand_messages(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    members = [await broker.join(GROUP) for _ in range(1000)]
    takes = [asyncio.ensure_future(member.take(10)) for member in members]
    await turns()
    await publish(broker, *(b"%d" % number for number in range(1000)))
    found = await asyncio.gather(*takes)
    assert [[int(one.body) for one in taken] for taken in found] == [[number] for number in range(1000)]
    for member in members:
        await member.close()
    assert [(group.members, group.lag) for group in await broker.groups()] == [(0, 1000)]


async def test_the_loop_wakes_a_take_when_a_delay_ends() -> None:
    async with MemoryBroker() as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("a", b"later", delay=0.02)])
        assert [one.body for one in await member.take(1)] == [b"later"]


async def test_a_timer_is_set_anew_for_an_earlier_instant(broker: MemoryBroker, clock: FakeClock) -> None:
    await broker.declare(LOG)
    member = await broker.join(GROUP)
    await broker.publish(
        [OutgoingMessage("a", b"day", delay=86_400.0), OutgoingMessage("a", b"hour", delay=3600.0)]
    )
    taking = asyncio.ensure_future(member.take(2))
    await turns()
    for expected, seconds in ((b"hour", 3600.0), (b"day", 82_800.0)):
        clock.advance(seconds - 1.0)
        broker.catch_up()
        await turns()
        assert not taking.done()
        clock.advance(1.0)
        broker.catch_up()
        assert [one.body for one in await taking] == [expected]
        taking = asyncio.ensure_future(member.take(2))
        await turns()
    taking.cancel()


async def test_a_closed_broker_ends_its_takes() -> None:
    broker = MemoryBroker()
    async with broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        taking = asyncio.ensure_future(member.take(1))
        await turns()
    with pytest.raises(BrokerError, match="closed"):
        await taking
    for verb in (broker.publish([OutgoingMessage("a", b"")]), member.take(1), broker.groups()):
        with pytest.raises(BrokerError, match="closed"):
            await verb
    await member.close()


async def test_a_member_that_leaves_ends_its_takes(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    member = await broker.join(GROUP)
    taking = asyncio.ensure_future(member.take(1))
    await turns()
    await member.close()
    for take in (taking, member.take(1)):
        with pytest.raises(BrokerError, match="left"):
            await take


async def test_a_message_that_arrives_at_the_end_of_its_member_goes_to_another(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    first, second = [await broker.join(GROUP) for _ in range(2)]
    taking = asyncio.ensure_future(first.take(1))
    await turns()
    await publish(broker, b"1")
    await first.close()
    with pytest.raises(BrokerError, match="left"):
        await taking
    assert [(one.body, one.delivery) for one in await second.take(1)] == [(b"1", 2)]


async def test_a_message_that_arrives_during_a_seek_comes_once(broker: MemoryBroker) -> None:
    await broker.declare(LOG)
    member = await broker.join(GROUP)
    taking = asyncio.ensure_future(member.take(5))
    await turns()
    await publish(broker, b"1", b"2")
    await broker.seek("g", 2)
    assert [(one.body, one.delivery) for one in await taking] == [(b"2", 1)]


async def test_events_for_operators_are_errors_in_the_log(
    broker: MemoryBroker, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    await broker.declare(TopicSettings("a", keep_seconds=10.0, max_bytes=10_000))
    member = await broker.join(GROUP)
    await publish(broker, b"x" * 8000)
    (one,) = await member.take(1)
    await member.reject(one.token, "no", "x" * 4000)
    await publish(broker, b"x" * 8000)
    await publish(broker, b"x" * 8000)
    await member.close()
    clock.advance(10.0)
    broker.catch_up()
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "the group g stops",
        "the group g is too slow",
        "the group g is removed",
    ]


class TestUrl:
    """`memory://name`."""

    async def test_a_name_is_one_broker_until_the_last_closes_it(self) -> None:
        async with open_memory(RegistryURL("memory://one")) as first:
            async with open_memory(RegistryURL("memory://one")) as second:
                assert first is second
                await second.declare(LOG)
            assert list(await first.topics()) == [LOG]
            async with open_memory(RegistryURL("memory://other")) as other:
                assert list(await other.topics()) == []
        async with open_memory(RegistryURL("memory://one")) as third:
            assert list(await third.topics()) == []

    @pytest.mark.parametrize(
        ("url", "text"),
        [
            ("memory://", "not the name"),
            ("memory://a/b", "not the name"),
            ("memory://a?sync=full", "leave the option sync out"),
            ("memory://a?lease=3", "no option lease"),
        ],
    )
    def test_another_form_is_refused(self, url: str, text: str) -> None:
        with pytest.raises(ConfigError, match=text):
            open_memory(RegistryURL(url))

    async def test_a_broker_of_another_loop_is_refused(self) -> None:
        async def open_too() -> None:
            async with open_memory(RegistryURL("memory://mine")):
                pass

        async with open_memory(RegistryURL("memory://mine")):
            with pytest.raises(ConfigError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, open_too())


def test_a_delivery_cannot_change_the_kept_headers() -> None:
    async def scene() -> Delivery:
        async with MemoryBroker() as broker:
            await broker.declare(LOG)
            member = await broker.join(GROUP)
            headers = {"a": "b"}
            await broker.publish([OutgoingMessage("a", b"", headers=headers)])
            headers["a"] = "changed"
            return (await member.take(1))[0]

    delivery = asyncio.run(scene())
    assert dict(delivery.headers) == {"a": "b"}
    with pytest.raises(TypeError):
        delivery.headers["a"] = "c"  # type: ignore[index]

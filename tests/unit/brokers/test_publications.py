"""Which publications share a call, when each leaves, and how long it waits: against a broker of the test's times."""

import asyncio
import random
import statistics
from collections.abc import Callable
from typing import Any, cast

import pytest

import fastrpc
from fastrpc import BrokerError
from fastrpc.brokers.base import OutgoingMessage, Published
from fastrpc.brokers.remote.publishing import Publications
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.client.client import Client
from tests.support.virtual_time import pass_time

pytestmark = pytest.mark.virtual_time


class Broker:
    """The client of a broker: notes the bodies of each call, and answers after a pause or on demand."""

    def __init__(self, seconds: float | None = None) -> None:
        self.got: list[list[bytes]] = []
        #: For each call without a pause: done once it is to be answered.
        self.answers: list[asyncio.Future[None]] = []
        self.publications = Publications(cast(Client, self))
        self._seconds = seconds

    async def call(self, method: Any, *arguments: Any) -> Any:
        many = method is BrokerService.publish_many
        bodies = [one.body for one in arguments[0]] if many else [arguments[1]]
        self.got.append(bodies)
        if self._seconds is None:
            self.answers.append(asyncio.get_running_loop().create_future())
            await self.answers[-1]
        else:
            await pass_time(self._seconds)
        published = [Published("", 1) for _ in bodies]
        return published if many else published[0]

    def publish(self, *bodies: bytes, further: tuple[bytes, ...] = ()) -> "list[asyncio.Task[Any]]":
        """Publish each body by a task, one after another in the next turn; each task publishes further ones then."""
        return [asyncio.ensure_future(self._publish(body, *further)) for body in bodies]

    async def _publish(self, *bodies: bytes) -> None:
        for body in bodies:
            await self.publications.publish(message(body))

    async def sent(self, *bodies: bytes, further: tuple[bytes, ...] = ()) -> "list[asyncio.Task[Any]]":
        """Publish bodies by one call, which waits for its answer."""
        tasks = self.publish(*bodies, further=further)
        await turns(3)
        assert self.got[-1] == [*bodies]
        return tasks

    async def end(self, *tasks: "asyncio.Task[Any]") -> None:
        """Answer all calls, and wait for their publishers."""
        for answer in self.answers:
            if not answer.done():
                answer.set_result(None)
        await asyncio.gather(*tasks)


def message(body: bytes) -> OutgoingMessage:
    return OutgoingMessage("orders.new", body)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.fixture
def long_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold a message until a call ends, for any time."""
    monkeypatch.setattr("fastrpc.brokers.remote.publishing._HELD_SECONDS", 600.0)


class Publisher:
    """Publishes one message after another, and notes how long each took."""

    def __init__(self, broker: Broker, name: bytes) -> None:
        self.seconds: list[float] = []
        self._broker = broker
        self._name = name

    async def run(self, count: int, pause: Callable[[], float] | None = None) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count):
            if pause is not None:
                await pass_time(pause())
            began = loop.time()
            await self._broker.publications.publish(message(self._name))
            self.seconds.append(loop.time() - began)


@pytest.mark.parametrize("others", range(1, 7))
async def test_publishers_that_are_not_in_step_wait_only_for_the_answer_of_a_far_broker(others: int) -> None:
    broker = Broker(0.02)
    # These two publish in step, so that a call which messages share is under way all the time.
    steady = [Publisher(broker, b"steady") for _ in range(2)]
    running = [asyncio.ensure_future(one.run(1_000)) for one in steady]
    instants = random.Random(others)
    away = [Publisher(broker, b"%d" % number) for number in range(others)]
    await asyncio.gather(*(one.run(100, lambda: instants.uniform(0.0, 0.1)) for one in away))
    for one in running:
        one.cancel()
    await asyncio.wait(running)
    await broker.publications.finish()
    assert [b"steady"] * 2 in broker.got
    for publisher in (*steady, *away):
        assert statistics.median(publisher.seconds) == pytest.approx(0.02)
        assert max(publisher.seconds[1:]) < 0.0211
        # Only a tenth of each call is close enough to its end for a hold.
        held = sum(seconds > 0.0201 for seconds in publisher.seconds)
        assert held <= 0.25 * len(publisher.seconds)


@pytest.mark.parametrize("count", range(3, 9))
async def test_publishers_of_a_near_broker_come_into_step(count: int) -> None:
    broker = Broker(0.0008)
    instants = random.Random(count)
    publishers = [Publisher(broker, b"%d" % number) for number in range(count)]

    async def late(publisher: Publisher) -> None:
        await pass_time(instants.uniform(0.0, 0.0008))
        await publisher.run(100)

    # Two begin at the same time.
    await asyncio.gather(publishers[0].run(100), *map(late, publishers[1:-1]), publishers[-1].run(100))
    assert sorted(broker.got[len(broker.got) // 2]) == sorted(b"%d" % number for number in range(count))
    for publisher in publishers:
        assert statistics.median(publisher.seconds) == pytest.approx(0.0008)


async def test_lone_publisher_is_never_held() -> None:
    broker = Broker(0.0003)
    publisher = Publisher(broker, b"alone")
    await publisher.run(20)
    assert publisher.seconds == pytest.approx([0.0003] * 20)


@pytest.mark.usefixtures("long_hold")
async def test_held_message_waits_for_publishers_that_are_woken_some_turns_later() -> None:
    broker = Broker()
    alone = await broker.sent(b"alone")
    early = await broker.sent(b"1", b"2")
    late = await broker.sent(b"3", b"4", further=(b"again",))
    _, answer, next_answer = broker.answers
    answer.set_result(None)
    held = broker.publish(b"held")
    await turns(1)
    # The publishers of the first call are woken now, and the publishers of the second one two turns later.
    next_answer.set_result(None)
    await turns(8)
    assert broker.got[3:] == [[b"held", b"again", b"again"]]
    await broker.end(*alone, *early, *late, *held)


@pytest.mark.usefixtures("long_hold")
async def test_held_message_goes_with_messages_that_follow_a_failure() -> None:
    broker = Broker()
    alone = await broker.sent(b"alone")

    async def publish_again(body: bytes) -> None:
        with pytest.raises(BrokerError, match="lost"):
            await broker.publications.publish(message(body))
        await broker.publications.publish(message(b"again"))

    publishing = [asyncio.ensure_future(publish_again(body)) for body in (b"1", b"2")]
    await turns(3)
    held = broker.publish(b"held")
    await turns(3)
    assert broker.got[1:] == [[b"1", b"2"]]
    broker.answers[1].set_exception(BrokerError("the connection is lost"))
    await turns(8)
    assert broker.got[2:] == [[b"held", b"again", b"again"]]
    await broker.end(*alone, *held, *publishing)


@pytest.mark.parametrize("count", [1, 2, 32], ids=["one", "several", "a full batch"])
async def test_messages_of_a_turn_leave_before_a_call_that_shares_nothing_with_them(count: int) -> None:
    broker = Broker()
    alone = await broker.sent(b"alone")
    bodies = [b"%d" % number for number in range(count)]
    publishing = broker.publish(*bodies)
    await turns(1)
    assert broker.got == [[b"alone"]]
    await broker.publications.release()
    assert broker.got == [[b"alone"], bodies]
    await broker.end(*alone, *publishing)


@pytest.mark.parametrize("count", [1, 32], ids=["one", "a full batch"])
async def test_messages_of_a_turn_leave_before_a_publication_with_a_deadline(count: int) -> None:
    broker = Broker()
    publishing = await broker.sent(b"alone")
    bodies = [b"%d" % number for number in range(count)]
    publishing += broker.publish(*bodies)
    async with fastrpc.timeout(20.0):
        publishing += broker.publish(b"hurried")
    await turns(4)
    assert broker.got == [[b"alone"], bodies, [b"hurried"]]
    await broker.end(*publishing)


async def test_end_waits_for_messages_whose_turn_is_not_over() -> None:
    broker = Broker()
    alone = await broker.sent(b"alone")
    publishing = broker.publish(b"1")
    finishing = asyncio.ensure_future(broker.publications.finish())
    await turns(5)
    assert broker.got == [[b"alone"], [b"1"]]
    assert not finishing.done()
    await broker.end(*alone, *publishing)
    await finishing


async def test_end_is_not_delayed_by_publishers_that_try_again_for_ever() -> None:
    broker = Broker()
    alone = await broker.sent(b"alone")
    tried = 0

    async def refused(*arguments: Any) -> None:
        await turns(8)
        raise BrokerError("the client is closed", processed="no")

    async def try_again() -> None:
        nonlocal tried
        while tried < 1_000:
            tried += 1
            try:
                await broker.publications.publish(message(b"again"))
            except BrokerError:
                continue

    broker.call = refused  # type: ignore[method-assign]
    publishing = [asyncio.ensure_future(try_again()) for _ in range(2)]
    await turns(4)
    # Calls of the two pairs are under way by turns.
    publishing += [asyncio.ensure_future(try_again()) for _ in range(2)]
    await turns(4)
    await broker.publications.finish()
    assert tried < 100
    await broker.end(*alone, *publishing)

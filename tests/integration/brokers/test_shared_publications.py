"""Publications of one moment share a call of `fastrpc.broker`; each has an outcome and an end that is its alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, Status
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.brokers.base import GroupSettings, OutgoingMessage, Published, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.remote.client import RemoteBroker
from fastrpc.brokers.remote.server import BrokerServer
from fastrpc.brokers.remote.service import BrokerService
from tests.support.proxy import FaultProxy
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

LOG = TopicSettings("orders.new")


class Watched:
    """A broker of a server, and the bodies of each publication that it got."""

    def __init__(self, server: BrokerServer, broker: RemoteBroker) -> None:
        self.broker = broker
        self.got: list[list[bytes]] = []
        #: Is awaited before each publication is kept.
        self.before: Callable[[], Any] = lambda: asyncio.sleep(0)
        #: Is called once it is kept.
        self.after: Callable[[], None] = lambda: None
        service: BrokerService = dict(server._server._served.instances())["fastrpc.broker"]
        self.backend: EmbeddedBroker = service.backend
        self._publish = self.backend.publish
        self.backend.publish = self._watched  # type: ignore[method-assign]

    async def _watched(self, messages: Sequence[OutgoingMessage]) -> Sequence[Published]:
        self.got.append([message.body for message in messages])
        await self.before()
        kept = await self._publish(messages)
        self.after()
        return kept

    def publishing(
        self, body: bytes, topic: str = "orders.new", id: str | None = None
    ) -> "asyncio.Task[Any]":
        return asyncio.ensure_future(self.broker.publish([OutgoingMessage(topic, body, id=id)]))

    async def kept(self) -> list[bytes]:
        """Return the bodies of all messages that the topic has."""
        (end,) = await self._publish([OutgoingMessage("orders.new", b"end")])
        member = await self.backend.join(GroupSettings("reader", "orders.new", "oldest"))
        found: list[bytes] = []
        while b"end" not in found:
            found += [one.body for one in await member.take(100)]
        await member.close()
        await self.backend.remove_group("reader")
        assert end.sequence >= len(found)
        return found[:-1]


@pytest.fixture
async def server() -> AsyncIterator[BrokerServer]:
    async with BrokerServer("tcp://127.0.0.1:0") as server:
        yield server


@pytest.fixture
async def proxy(server: BrokerServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(str(server.address)) as proxy:
        yield proxy


@pytest.fixture
async def watched(server: BrokerServer, proxy: FaultProxy) -> AsyncIterator[Watched]:
    async with open_backend(str(proxy.address).replace("tcp://", "broker://")) as broker:
        assert isinstance(broker, RemoteBroker)
        await broker.declare(LOG)
        yield Watched(server, broker)


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_messages_of_one_moment_share_calls_in_their_order(watched: Watched) -> None:
    published = await asyncio.gather(*map(watched.publishing, bodies(70)))
    assert watched.got == [bodies(1), bodies(33)[1:], bodies(65)[33:], bodies(70)[65:]]
    assert [one.sequence for (one,) in published] == list(range(1, 71))
    assert await watched.kept() == bodies(70)


async def test_first_message_of_a_turn_waits_for_the_others_after_messages_once_came_together(
    watched: Watched,
) -> None:
    for _ in range(3):
        await asyncio.gather(*map(watched.publishing, bodies(4)))
    assert watched.got == [[b"0"], bodies(4)[1:], bodies(4), bodies(4)]
    await watched.publishing(b"alone")
    watched.got.clear()
    await asyncio.gather(*map(watched.publishing, bodies(4)))
    assert watched.got == [[b"0"], bodies(4)[1:]]


async def test_single_message_behind_a_full_call_keeps_its_place(watched: Watched) -> None:
    published = await asyncio.gather(*map(watched.publishing, bodies(34)))
    assert watched.got == [bodies(1), bodies(33)[1:], bodies(34)[33:]]
    assert [one.sequence for (one,) in published] == list(range(1, 35))


@pytest.fixture
def long_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold a message until a call ends, for any time."""
    monkeypatch.setattr("fastrpc.brokers.remote.publishing._HELD_SECONDS", 600.0)


async def held_behind_a_call(
    watched: Watched, goes_on: asyncio.Event, *further: bytes
) -> "list[asyncio.Task[Any]]":
    """Publish 0 alone, 1 and 2 by a call that waits for an event, and meanwhile 3, the only message of its turn.

    Args:
        further: published by the publishers of 1 and 2, after these.
    """
    watched.before = goes_on.wait

    async def publish(*bodies: bytes) -> None:
        for body in bodies:
            await watched.broker.publish([OutgoingMessage("orders.new", body)])

    publishing = [watched.publishing(b"0")]
    publishing += [asyncio.ensure_future(publish(b"%d" % number, *further)) for number in (1, 2)]
    await eventually(lambda: len(watched.got) == 2)
    publishing.append(watched.publishing(b"3"))
    for _ in range(3):
        await asyncio.sleep(0)
    return publishing


@pytest.mark.usefixtures("long_hold")
async def test_single_message_that_comes_during_a_shared_call_joins_the_next_call(watched: Watched) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on, b"further")
    goes_on.set()
    await asyncio.gather(*publishing)
    assert watched.got == [[b"0"], [b"1", b"2"], [b"3", b"further", b"further"]]


@pytest.mark.usefixtures("long_hold")
async def test_single_message_that_comes_during_a_shared_call_leaves_once_that_call_has_ended(
    watched: Watched,
) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    assert watched.got == [[b"0"], [b"1", b"2"]]
    goes_on.set()
    await asyncio.gather(*publishing)
    assert watched.got == [[b"0"], [b"1", b"2"], [b"3"]]


@pytest.mark.usefixtures("long_hold")
async def test_message_that_waits_for_a_call_is_sent_at_once_before_a_long_one(watched: Watched) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    publishing.append(watched.publishing(bytes(300_000)))
    await eventually(lambda: len(watched.got) == 3)
    assert watched.got[2] == [b"3"]
    goes_on.set()
    *_, (before,), (long,) = await asyncio.gather(*publishing)
    assert (before.sequence, long.sequence) == (4, 5)


@pytest.mark.usefixtures("long_hold")
async def test_message_that_waits_for_a_call_leaves_before_later_messages_that_go_alone(
    watched: Watched,
) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    async with fastrpc.timeout(20.0):
        publishing.append(watched.publishing(b"hurried"))
    await eventually(lambda: len(watched.got) == 4)
    publishing.append(watched.publishing(b"held"))
    for _ in range(3):
        await asyncio.sleep(0)
    many = [OutgoingMessage("orders.new", body) for body in (b"several", b"at once")]
    publishing.append(asyncio.ensure_future(watched.broker.publish(many)))
    goes_on.set()
    await asyncio.gather(*publishing)
    assert watched.got[2:] == [[b"3"], [b"hurried"], [b"held"], [b"several", b"at once"]]


@pytest.mark.usefixtures("long_hold")
async def test_message_that_waits_for_a_call_is_not_lost_with_that(
    watched: Watched, proxy: FaultProxy
) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    proxy.reset_all()
    watched.before = lambda: asyncio.sleep(0)
    *lost, late = await asyncio.gather(*publishing, return_exceptions=True)
    assert [getattr(one, "processed", one) for one in lost] == ["unknown"] * 3
    # It had not left: it goes by a call of the next connection, which may be there by now.
    assert getattr(late, "processed", "no") == "no"


@pytest.mark.usefixtures("long_hold")
async def test_message_that_waits_for_a_call_is_not_published_for_a_cancelled_publisher(
    watched: Watched,
) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    publishing.pop().cancel()
    goes_on.set()
    await asyncio.gather(*publishing)
    assert await watched.kept() == bodies(3)


async def test_message_is_held_for_a_moment_during_a_shared_call_of_any_length(watched: Watched) -> None:
    goes_on = asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    # The calls before it wait for the event.
    await eventually(lambda: len(watched.got) == 3)
    assert watched.got == [[b"0"], [b"1", b"2"], [b"3"]]
    goes_on.set()
    await asyncio.gather(*publishing)


@pytest.mark.usefixtures("long_hold")
async def test_message_behind_a_message_that_was_held_is_not_held(watched: Watched) -> None:
    goes_on, ends = asyncio.Event(), asyncio.Event()
    publishing = await held_behind_a_call(watched, goes_on)
    watched.before = ends.wait
    goes_on.set()
    await asyncio.gather(*publishing[:3])
    await eventually(lambda: len(watched.got) == 3)
    publishing.append(watched.publishing(b"4"))
    await eventually(lambda: len(watched.got) == 4)
    ends.set()
    await asyncio.gather(*publishing)
    assert watched.got[2:] == [[b"3"], [b"4"]]


async def test_long_messages_share_no_call(watched: Watched) -> None:
    await asyncio.gather(*(watched.publishing(bytes(200_000)) for _ in range(3)))
    assert [len(one) for one in watched.got] == [1, 1, 1]


@pytest.mark.parametrize("place", [0, 7, 15])
async def test_one_refused_message_is_refused_alone(watched: Watched, place: int) -> None:
    topics = ["orders.new"] * 16
    topics[place] = "orders.nosuch"
    outcomes = await asyncio.gather(*map(watched.publishing, bodies(16), topics), return_exceptions=True)
    refused = outcomes.pop(place)
    assert isinstance(refused, BrokerError)
    assert (refused.status, refused.processed) == (Status.NOT_FOUND, "no")
    assert "orders.nosuch" in refused.message
    assert sorted(one.sequence for (one,) in outcomes) == list(range(1, 16))
    assert sorted(await watched.kept()) == sorted(set(bodies(16)) - {bodies(16)[place]})


@pytest.mark.parametrize(
    ("fault", "told"),
    [({"id": "\ud800"}, "not UTF-8"), ({"id": "x" * 513}, "its id"), ({"delay": -1.0}, "a delay of -1")],
)
@pytest.mark.parametrize("place", [0, 7])
async def test_one_faulty_message_is_refused_alone(
    watched: Watched, place: int, fault: dict[str, Any], told: str
) -> None:
    messages = [OutgoingMessage("orders.new", body) for body in bodies(16)]
    messages[place] = OutgoingMessage("orders.new", b"faulty", **fault)
    publishing = (watched.broker.publish([message]) for message in messages)
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    refused = outcomes.pop(place)
    assert isinstance(refused, BrokerError)
    assert (refused.status, refused.processed) == (Status.INVALID_ARGUMENT, "no")
    assert told in refused.message
    assert sorted(await watched.kept()) == sorted(set(bodies(16)) - {bodies(16)[place]})


async def test_full_queue_keeps_as_many_messages_as_have_room(watched: Watched) -> None:
    await watched.backend.declare(TopicSettings("jobs", None, ("workers",), max_bytes=5_000))
    outcomes = await asyncio.gather(
        *(watched.publishing(body, "jobs") for body in bodies(16)), return_exceptions=True
    )
    refused = [one for one in outcomes if isinstance(one, BrokerError)]
    assert 0 < len(refused) < 16
    assert {one.status for one in refused} == {Status.RESOURCE_EXHAUSTED}
    (state,) = await watched.backend.groups()
    assert state.lag == 16 - len(refused)


async def test_topic_without_the_right_is_refused_alone() -> None:
    tokens = StaticTokens({"token-of-shop": Identity("shop")})
    policy = Policy([{"who": ["shop"], "publish": ["orders.*"]}])
    async with BrokerServer("tcp://127.0.0.1:0", authenticate=tokens, policy=policy) as server:
        async with open_backend(f"{server.url}?token=token-of-shop") as broker:
            await broker.declare(LOG)
            publish = [OutgoingMessage(topic, b"x") for topic in ("orders.new", "bills.new", "orders.new")]
            first, second, third = await asyncio.gather(
                *(broker.publish([one]) for one in publish), return_exceptions=True
            )
    assert isinstance(second, BrokerError)
    assert second.status is Status.PERMISSION_DENIED
    assert not isinstance(first, BaseException)
    assert not isinstance(third, BaseException)


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_cancelled_publisher_does_not_affect_other_publishers(
    watched: Watched, place: int, turns: int
) -> None:
    publishing = [watched.publishing(body) for body in bodies(4)]
    for _ in range(turns):
        await asyncio.sleep(0)
    publishing[place].cancel()
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert isinstance(outcomes.pop(place), asyncio.CancelledError)
    assert len({one.sequence for (one,) in outcomes}) == 3
    kept = await watched.kept()
    assert len(kept) == len(set(kept))
    assert {*bodies(4)} - {bodies(4)[place]} <= {*kept}


async def test_publisher_that_is_cancelled_before_its_call_leaves_publishes_nothing(watched: Watched) -> None:
    publishing = [watched.publishing(body) for body in bodies(4)]
    await asyncio.sleep(0)
    publishing[2].cancel()
    await asyncio.gather(*publishing, return_exceptions=True)
    assert await watched.kept() == [b"0", b"1", b"3"]


@pytest.mark.parametrize("turns", [1, 2])
async def test_publishers_that_are_all_cancelled_call_nothing(watched: Watched, turns: int) -> None:
    held = asyncio.Event()
    watched.before = held.wait
    first = watched.publishing(b"first")
    await eventually(lambda: watched.got)
    publishing = [watched.publishing(body) for body in bodies(4)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for one in publishing:
        one.cancel()
    await asyncio.gather(*publishing, return_exceptions=True)
    held.set()
    await first
    assert await watched.kept() == [b"first"]
    assert watched.got == [[b"first"]]


async def test_publisher_cancelled_during_its_call_does_not_affect_other_publishers(
    watched: Watched,
) -> None:
    goes_on = asyncio.Event()
    watched.before = goes_on.wait
    publishing = [watched.publishing(body) for body in bodies(4)]
    await eventually(lambda: bool(watched.got))
    publishing[1].cancel()
    await asyncio.wait([publishing[1]])
    goes_on.set()
    (first,), (third,), (fourth,) = await asyncio.gather(publishing[0], publishing[2], publishing[3])
    assert (first.sequence, third.sequence, fourth.sequence) == (1, 3, 4)


async def test_lost_answer_of_a_shared_call_is_unknown_to_each_publisher(
    watched: Watched, proxy: FaultProxy
) -> None:
    watched.after = proxy.reset_all
    outcomes = await asyncio.gather(*map(watched.publishing, bodies(4)), return_exceptions=True)
    assert [getattr(one, "processed", one) for one in outcomes] == ["unknown"] * 4
    # Each has an error that is its alone.
    assert len({id(one) for one in outcomes}) == 4
    assert await watched.kept() == bodies(4)


async def test_messages_with_ids_of_a_lost_shared_call_are_repeated_and_kept_once(
    server: BrokerServer, proxy: FaultProxy
) -> None:
    topic = fastrpc.Topic("orders.new", str)
    async with fastrpc.brokers.open_broker(str(proxy.address).replace("tcp://", "broker://")) as broker:
        await broker.declare(topic)
        backend = broker.backend
        assert isinstance(backend, RemoteBroker)
        watched = Watched(server, backend)

        def cut_once() -> None:
            watched.after = lambda: None
            proxy.reset_all()

        watched.after = cut_once
        published = await asyncio.gather(*(broker.publish(topic, "x", id=f"{number}") for number in range(8)))
        assert all(one.is_duplicate for one in published)
        assert len(await watched.kept()) == 8


async def test_publication_with_a_deadline_ends_at_it_and_does_not_affect_others(watched: Watched) -> None:
    goes_on = asyncio.Event()
    watched.before = goes_on.wait

    async def hurried() -> None:
        async with fastrpc.timeout(0.05):
            await watched.publishing(b"hurried")

    others = [watched.publishing(body) for body in bodies(3)]
    with pytest.raises(BrokerError) as caught:
        await hurried()
    assert caught.value.status is Status.DEADLINE_EXCEEDED
    goes_on.set()
    assert len(await asyncio.gather(*others)) == 3


async def test_closed_broker_ends_all_publications(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        assert isinstance(broker, RemoteBroker)
        await broker.declare(LOG)
        watched = Watched(server, broker)
        watched.before = asyncio.Event().wait
        publishing = [watched.publishing(body) for body in bodies(40)]
        await eventually(lambda: bool(watched.got))
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(one, BrokerError) for one in outcomes), outcomes


@pytest.mark.usefixtures("long_hold")
async def test_closed_broker_ends_a_message_that_waits_for_a_call(server: BrokerServer) -> None:
    async with open_backend(server.url) as broker:
        assert isinstance(broker, RemoteBroker)
        await broker.declare(LOG)
        publishing = await held_behind_a_call(Watched(server, broker), asyncio.Event())
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert all(isinstance(one, BrokerError) for one in outcomes), outcomes
    assert getattr(outcomes[-1], "processed", None) == "no"


async def test_acks_lost_in_one_call_have_unknown_outcomes_and_their_messages_are_redelivered(
    watched: Watched, proxy: FaultProxy
) -> None:
    member = await watched.broker.join(GroupSettings("billing", "orders.new"))
    await asyncio.gather(*map(watched.publishing, bodies(8)))
    held: list[Any] = []
    while len(held) < 8:
        held += await member.take(8)
    acking = asyncio.ensure_future(member.ack_many([one.token for one in held]))
    await asyncio.sleep(0)
    proxy.reset_all()
    with pytest.raises(BrokerError) as caught:
        await acking
    assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
    assert all(member.is_lost(one.token) for one in held)
    other = await watched.backend.join(GroupSettings("billing", "orders.new"))
    again: list[Any] = []
    while len(again) < 8:
        again += await other.take(8)
    assert [(one.body, one.delivery) for one in again] == [(body, 2) for body in bodies(8)]

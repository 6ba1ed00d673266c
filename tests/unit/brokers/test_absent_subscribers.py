"""Subscribers of a server while their broker is away, refuses, or is slow; limits of backends at start-up."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

import fastrpc
from fastrpc import BrokerError, ConfigError, Server, Status, Topic
from fastrpc.brokers import Broker
from fastrpc.brokers.base import AcksTold, BrokerLimits
from fastrpc.config import Backoff
from fastrpc.config.delays import pause_after
from tests.support.small_broker import SmallBroker, away
from tests.support.waiting import eventually

ORDERS = Topic("orders.new", int)


class Handled:
    """A service with one subscriber, whose handlers wait until they may end."""

    def __init__(self, **options: Any) -> None:
        self.began: list[int] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()
        handled = self

        @fastrpc.service("billing")
        class Billing:
            @fastrpc.subscriber(ORDERS, **options)
            async def bill(self, number: int) -> None:
                handled.began.append(number)
                try:
                    await handled.may_end.wait()
                    handled.ended.append("ended")
                except asyncio.CancelledError:
                    handled.ended.append("cancelled")
                    raise

        self.service = Billing()


@pytest.fixture
async def handled(broker: Broker) -> AsyncIterator[Handled]:
    found = Handled()
    async with Server(found.service, broker=broker):
        yield found


@pytest.mark.virtual_time
async def test_handlers_are_cancelled_when_the_broker_is_away_and_settle_nothing(
    handled: Handled, backend: SmallBroker
) -> None:
    backend.members[0].deliver(backend.delivery(1, b"1"))
    await eventually(lambda: handled.began == [1])
    backend.members[0].fail(away())
    await backend.joined(2)
    await eventually(lambda: handled.ended == ["cancelled"])
    assert backend.members[0].settled == []
    handled.may_end.set()
    backend.members[1].deliver(backend.delivery(2, b"1", delivery=2))
    await eventually(lambda: backend.members[1].settled == [("ack", 2)])


@pytest.mark.virtual_time
async def test_server_starts_while_its_broker_is_away(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    backend.join_failures.extend(away() for _ in range(20))
    handled = Handled()
    handled.may_end.set()
    async with Server(handled.service, broker=broker):
        assert "begins later, as the broker is away" in caplog.text
        (await backend.joined(1)).deliver(backend.delivery(1, b"1"))
        await eventually(lambda: backend.members[0].settled == [("ack", 1)])


@pytest.mark.virtual_time
async def test_absence_of_the_broker_is_reported_once_a_minute_and_its_return_once(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastrpc.broker")
    # About three minutes, as the pauses between attempts grow to a second.
    backend.join_failures.extend(away() for _ in range(240))
    async with Server(Handled().service, broker=broker):
        await backend.joined(1)
        await eventually(lambda: "has joined" in caplog.text)
    told = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert told[0].startswith("the subscription to 'orders.new' begins later")
    assert 2 <= len(told) - 1 <= 5
    assert set(told[1:]) == {"billing.bill gets no messages: the broker is away"}
    assert sum("has joined" in one.getMessage() for one in caplog.records) == 1


@pytest.mark.virtual_time
async def test_retry_is_told_with_the_message_and_its_pause(
    broker: Broker, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "fastrpc.broker")

    @fastrpc.service("billing")
    class Billing:
        @fastrpc.subscriber(ORDERS, backoff=Backoff(first=2, jitter=0))
        async def bill(self, number: int) -> None:
            raise ValueError("a number of no use")

    async with Server(Billing(), broker=broker):
        backend.members[0].deliver(backend.delivery(1, b"1"))
        await eventually(lambda: backend.members[0].settled != [])
    (told,) = [one.getMessage() for one in caplog.records if "again" in one.getMessage()]
    assert "'orders.new', delivery 1> comes to billing.bill again in 2 s" in told


@pytest.mark.virtual_time
async def test_acknowledgement_is_repeated_until_the_broker_keeps_it(
    handled: Handled, backend: SmallBroker
) -> None:
    member = backend.members[0]
    # More than one verb of the facade waits for.
    member.settle_failures.extend(away() for _ in range(30))
    handled.may_end.set()
    member.deliver(backend.delivery(1, b"1"))
    await eventually(lambda: member.settled == [("ack", 1)])
    assert handled.began == [1]


@pytest.mark.virtual_time
async def test_acknowledgement_ends_with_a_message_that_is_lost(
    handled: Handled, backend: SmallBroker
) -> None:
    member = backend.members[0]
    member.settle_failures.extend(away() for _ in range(3))
    handled.may_end.set()
    member.lost.add(1)
    member.deliver(backend.delivery(1, b"1"), backend.delivery(2, b"2"))
    await eventually(lambda: member.settled == [("ack", 2)])


@pytest.mark.virtual_time
async def test_handler_whose_message_is_lost_is_cancelled_and_the_others_continue(
    handled: Handled, backend: SmallBroker
) -> None:
    member = backend.members[0]
    member.deliver(*(backend.delivery(number, b"%d" % number) for number in range(1, 11)))
    await eventually(lambda: len(handled.began) == 10)
    member.lost |= set(range(1, 10))
    await eventually(lambda: handled.ended == ["cancelled"] * 9)
    # Each of them has made room for another one.
    member.deliver(*(backend.delivery(number, b"%d" % number) for number in range(11, 20)))
    await eventually(lambda: len(handled.began) == 19)
    handled.may_end.set()
    await eventually(lambda: len(member.settled) == 10)
    assert [number for _, number in member.settled] == list(range(10, 20))


@pytest.mark.virtual_time
async def test_removed_group_is_an_error_and_begins_anew_after_pauses(
    handled: Handled, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    gone = BrokerError("the group billing.bill was removed", status=Status.NOT_FOUND, processed="no")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(1, 11):
        (await backend.joined(number)).fail(gone)
    await backend.joined(11)
    # It does not spin: pauses grow to a second.
    assert loop.time() > began + 3
    assert all(member.is_closed for member in backend.members[:10])
    handled.may_end.set()
    backend.members[10].deliver(backend.delivery(1, b"1"))
    await eventually(lambda: backend.members[10].settled == [("ack", 1)])
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 10
    assert "billing.bill subscribes again" in caplog.text


@pytest.mark.virtual_time
async def test_subscription_that_cannot_begin_anew_is_tried_again(
    handled: Handled, backend: SmallBroker, caplog: pytest.LogCaptureFixture
) -> None:
    backend.join_failures.append(ConfigError("the group has another order"))
    backend.members[0].fail(BrokerError("removed", status=Status.NOT_FOUND, processed="no"))
    handled.may_end.set()
    (await backend.joined(2)).deliver(backend.delivery(1, b"1"))
    await eventually(lambda: backend.members[1].settled == [("ack", 1)])
    assert "billing.bill cannot subscribe: the group has another order" in caplog.text


@pytest.mark.virtual_time
async def test_end_that_the_broker_refuses_hands_the_message_back(
    handled: Handled, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(token: Any) -> bool:
        raise ConfigError("the broker takes no acknowledgement")

    member = backend.members[0]
    monkeypatch.setattr(member, "begin_acks", None)
    monkeypatch.setattr(member, "ack", refuse)
    handled.may_end.set()
    member.deliver(backend.delivery(1, b"1"))
    await eventually(lambda: member.settled == [("hand_back", 1)])


@pytest.mark.virtual_time
async def test_messages_handled_in_one_turn_are_acknowledged_in_one_call(
    handled: Handled, backend: SmallBroker
) -> None:
    member = backend.members[0]
    member.deliver(*(backend.delivery(number, b"1") for number in range(1, 6)))
    await eventually(lambda: len(handled.began) == 5)
    handled.may_end.set()
    await eventually(lambda: len(member.settled) == 5)
    assert member.batches == [[1, 2, 3, 4, 5]]


@pytest.mark.virtual_time
async def test_end_that_the_broker_refuses_does_not_affect_other_ends(
    handled: Handled, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = backend.members[0]
    ack = member.ack

    async def refuse_second(token: Any) -> bool:
        if token == 2:
            raise ConfigError("the broker does not take this acknowledgement")
        return await ack(token)

    monkeypatch.setattr(member, "begin_acks", None)
    monkeypatch.setattr(member, "ack", refuse_second)
    handled.may_end.set()
    member.deliver(*(backend.delivery(number, b"1") for number in range(1, 4)))
    await eventually(lambda: ("hand_back", 2) in member.settled and ("ack", 3) in member.settled)
    assert ("ack", 1) in member.settled


@pytest.mark.virtual_time
async def test_a_lone_message_that_is_handled_at_once_is_acknowledged_before_the_next_take(
    handled: Handled, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So one request to the broker has both. Several messages are worth a request: the broker works while they do."""
    member = backend.members[0]
    take, seen = member.take, []

    async def noted(most: int) -> Any:
        seen.append(len(member.settled))
        return await take(most)

    monkeypatch.setattr(member, "take", noted)
    handled.may_end.set()
    member.deliver(backend.delivery(1, b"1"))
    await eventually(lambda: len(seen) == 1)
    assert seen == [1]


@pytest.mark.virtual_time
async def test_messages_with_acks_under_way_leave_room_for_as_many_others(
    broker: Broker, backend: SmallBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    handled = Handled(concurrency=2)
    async with Server(handled.service, broker=broker):
        member = backend.members[0]
        acks: list[tuple[Any, AcksTold, bool]] = []

        def begin_acks(tokens: Sequence[Any], tell: AcksTold, *, may_wait: bool) -> None:
            acks.append((tokens, tell, may_wait))

        monkeypatch.setattr(member, "begin_acks", begin_acks)
        handled.may_end.set()
        for number in range(1, 6):
            member.deliver(backend.delivery(number, b"1"))
            await eventually(lambda number=number: len(acks) == min(number, 4))
        assert handled.ended == ["ended"] * 4
        # The broker may keep the first one with other changes; the second is as many as are in flight.
        assert [may_wait for _, _, may_wait in acks] == [True, False, False, False]
        tokens, tell, _ = acks[0]
        tell([True] * len(tokens), None)
        await eventually(lambda: len(handled.ended) == 5)
        for tokens, tell, _ in acks[1:]:
            tell([True] * len(tokens), None)


@pytest.mark.virtual_time
@pytest.mark.parametrize(("concurrency", "most"), [(10, 10), (24, 16), (64, 32)])
async def test_a_take_leaves_half_of_many_places_to_the_next_one(
    broker: Broker, backend: SmallBroker, concurrency: int, most: int
) -> None:
    handled = Handled(concurrency=concurrency)
    handled.may_end.set()
    async with Server(handled.service, broker=broker):
        member = backend.members[0]
        member.deliver(*(backend.delivery(number, b"1") for number in range(1, 101)))
        await eventually(lambda: len(member.settled) == 100)
        assert max(map(len, member.batches)) == most


async def test_headers_that_are_no_metadata_make_a_dead_letter(
    handled: Handled, backend: SmallBroker
) -> None:
    headers = {"Bad Name": "x"}
    backend.members[0].deliver(backend.delivery(1, b"1", headers=headers))
    await eventually(lambda: bool(backend.members[0].settled))
    [(verb, token, reason, error)] = backend.members[0].settled
    assert (verb, token, reason) == ("reject", 1, "the value does not decode")
    assert error.startswith("its headers are not metadata")


async def test_subscriber_takes_as_many_messages_as_it_can_start(
    broker: Broker, backend: SmallBroker
) -> None:
    handled = Handled(concurrency=4)
    async with Server(handled.service, broker=broker):
        member = backend.members[0]
        member.deliver(*(backend.delivery(number, b"1") for number in range(1000)))
        await eventually(lambda: len(handled.began) == 4)
        assert (member.taken, len(member.waiting)) == ([4], 996)
        handled.may_end.set()
        await eventually(lambda: len(member.settled) == 1000)
        assert max(member.taken) == 4


@pytest.mark.parametrize(
    ("limits", "mark", "text"),
    [
        (
            BrokerLimits("small", has_order=False),
            {"topic": ORDERS, "ordered": True},
            r"ordered=True is not supported by small://.*leave ordered out, or use another broker",
        ),
        (
            BrokerLimits("small", has_patterns=False),
            {"topic": "orders.*"},
            r"'orders\.\*' is a pattern, which small:// does not have.*name each topic",
        ),
        (
            BrokerLimits("small", has_max_bytes=False),
            {"topic": Topic("orders", max_bytes=10)},
            r"max_bytes, which small:// does not enforce.*leave max_bytes out",
        ),
        (
            BrokerLimits("small", queue_groups=1),
            {"topic": Topic("orders", keep_seconds=None, groups=("a", "b"))},
            r"has 2 groups, a queue of small:// has 1",
        ),
        (
            BrokerLimits("small"),
            {"topic": ORDERS, "start": "yesterday"},
            r"'yesterday' is not a place in a topic",
        ),
        (BrokerLimits("small"), {"topic": ORDERS, "group": "a b"}, r"'a b' is not the name of a group"),
        (
            BrokerLimits("small", ordered_at_once=1),
            {"topic": ORDERS, "ordered": True},
            r"billing\.bill has ordered=True and concurrency=10, .*small:// starts 1 ordered .*give concurrency=1",
        ),
    ],
)
async def test_option_that_the_broker_cannot_do_is_refused_at_start_up(
    limits: BrokerLimits, mark: dict[str, Any], text: str
) -> None:
    @fastrpc.service("billing")
    class Billing:
        @fastrpc.subscriber(**mark)
        async def bill(self, order: Any) -> None: ...

    async with Broker(SmallBroker(limits)) as broker:
        with pytest.raises(ConfigError) as caught:
            await Server(Billing, broker=broker).start()
        assert not broker.subscribers
    assert re.search(text, str(caught.value), re.DOTALL)


async def test_failed_start_of_one_subscriber_leaves_the_group_of_another(
    broker: Broker, backend: SmallBroker
) -> None:
    @fastrpc.service("two")
    class Two:
        @fastrpc.subscriber(ORDERS)
        async def first(self, order: int) -> None: ...

        @fastrpc.subscriber("other", start="never")
        async def second(self, order: int) -> None: ...

    with pytest.raises(ConfigError, match="not a place in a topic"):
        await Server(Two, broker=broker).start()
    assert all(member.is_closed for member in backend.members)
    assert not broker.subscribers


def test_pauses_of_retries_grow_to_the_longest() -> None:
    backoff = Backoff(first=1, factor=2, longest=300, jitter=0)
    assert [pause_after(backoff, number) for number in (1, 2, 9, 10, 10_000)] == [1, 2, 256, 300, 300]
    assert pause_after(Backoff(first=5, factor=1, longest=60, jitter=0), 50) == 5
    jittered = Backoff(first=1, factor=2, longest=300, jitter=0.5)
    assert pause_after(jittered, 3, lambda low, high: low) == 2
    assert pause_after(jittered, 3, lambda low, high: high) == 6

"""The blocking twin of brokers."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc import BrokerError, Topic
from fastrpc.brokers import Broker
from fastrpc.brokers.sync import SyncBroker
from tests.support.forking import in_child
from tests.support.interrupting import interrupt_waits
from tests.support.small_broker import SmallBroker


@dataclass
class Order:
    id: str


ORDERS = Topic("orders.new", Order)


class Prepared(SmallBroker):
    """Gives three orders to each member."""

    async def join(self, group: Any) -> Any:
        member = await super().join(group)
        member.deliver(*(self.delivery(token, b'{"id": "17"}') for token in range(3)))
        return member


@pytest.fixture
def backend() -> Prepared:
    return Prepared()


@pytest.fixture
def broker(backend: Prepared) -> Iterator[SyncBroker]:
    with SyncBroker(Broker(backend)) as broker:
        yield broker


def test_publications_reach_the_broker(broker: SyncBroker, backend: Prepared) -> None:
    assert broker.publish(ORDERS, Order("1"), id="a", key="k").id == "a"
    assert [one.sequence for one in broker.publish_many("orders.new", [1, 2])] == [2, 3]
    broker.declare(Topic("payments.*"))
    assert list(backend.declared) == ["orders.new", "payments.*"]


def test_messages_are_settled_by_threads(broker: SyncBroker, backend: Prepared) -> None:
    with broker.subscribe(ORDERS, group="audit") as messages:
        for message in messages:
            assert (message.value, message.topic, message.delivery) == (Order("17"), "orders.new", 1)
            break
        assert repr(message) == "<Message 'id-0' of 'orders.new', delivery 1>"
        settled = [message.ack(), next(messages).nack(3), next(messages).reject("wrong"), message.ack()]
        assert (settled, message.is_lost) == ([True, True, True, False], False)
    assert backend.members[0].settled == [("ack", 0), ("nack", 1, 3.0), ("reject", 2, "wrong", "")]
    assert list(messages) == []


def test_threads_have_each_verb_of_a_message(broker: SyncBroker, backend: Prepared) -> None:
    with broker.subscribe(ORDERS, group="audit", in_flight=2) as messages:
        first, second = next(messages), next(messages)
        assert (first.hand_back(), first.hand_back()) == (True, False)
        assert second.reject("wrong", "no such customer")
        lost = next(messages)
        backend.members[0].lost.add(2)
        assert lost.is_lost
        lost.forget()
        assert lost.ack() is False
    assert backend.members[0].settled == [("hand_back", 0), ("reject", 1, "wrong", "no such customer")]


def test_message_that_an_interrupt_keeps_from_its_receiver_comes_first(
    broker: SyncBroker, backend: Prepared
) -> None:
    with broker.subscribe(ORDERS, group="audit") as messages:
        assert next(messages).id == "id-0"
        with pytest.MonkeyPatch.context() as patch:
            interrupt_waits(patch, after_result=True)
            with pytest.raises(KeyboardInterrupt):
                next(messages)
        assert next(messages).id == "id-1"
        assert next(messages).id == "id-2"


@pytest.mark.parametrize("is_left_by_its_block", [False, True])
def test_subscription_is_left_silently_after_its_broker_has_closed(
    backend: Prepared, is_left_by_its_block: bool
) -> None:
    with SyncBroker(Broker(backend)) as broker:
        messages = broker.subscribe(ORDERS, group="audit")
        messages.__enter__()
    assert backend.members[0].is_closed
    if is_left_by_its_block:
        messages.__exit__(None, None, None)
    else:
        messages.close()


def test_another_thread_ends_the_iteration(broker: SyncBroker, backend: Prepared) -> None:
    with broker.subscribe(ORDERS, group="audit", in_flight=1) as messages:
        next(messages)
        threading.Timer(0, messages.close).start()
        assert list(messages) == []
    assert backend.members[0].settled == [("hand_back", 0)]


def test_verbs_of_operators_reach_the_broker(broker: SyncBroker, backend: Prepared) -> None:
    broker.seek("audit", "new")
    broker.remove_group("audit")
    assert broker.dead_letters("audit") == ()
    assert (broker.replay("audit", "a"), broker.discard("audit")) == (1, 0)
    assert [state.name for state in broker.groups()] == ["audit"]
    assert [asked[0] for asked in backend.asked] == [
        "seek",
        "remove_group",
        "dead_letters",
        "replay",
        "discard",
    ]


def test_broker_is_used_inside_its_block_and_process_alone(broker: SyncBroker) -> None:
    with pytest.raises(BrokerError, match="the broker is closed"):
        SyncBroker(Broker(SmallBroker())).groups()

    def use() -> None:
        with pytest.raises(RuntimeError, match="the broker was opened before a fork"):
            broker.groups()

    in_child(use)

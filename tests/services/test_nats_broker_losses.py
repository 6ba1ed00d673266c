"""The broker over NATS where servers are killed and connections are cut."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import fastrpc
from fastrpc.brokers import Broker, Topic, open_broker
from fastrpc.brokers.base import BrokerBackend, GroupSettings, Membership, OutgoingMessage, TopicSettings
from fastrpc.brokers.broker_urls import open_backend
from fastrpc.errors import BrokerError
from tests.support.proxy import FaultProxy
from tests.support.registry_servers import NatsServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_loop

LOG = TopicSettings("orders.new")
GROUP = GroupSettings("a", "orders.new")
ORDERS = Topic("orders.new", int)

#: Messages between two kills.
ROUND = 150


class Ledger:
    """The messages that were acknowledged to their publisher, and those that were handled."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.handled: Counter[int] = Counter()
        self._changed = asyncio.Condition()

    async def note_kept(self, number: int) -> None:
        self.acknowledged.add(number)
        await self._tell()

    async def note_handled(self, number: int) -> None:
        self.handled[number] += 1
        await self._tell()

    async def until_kept(self, count: int) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.acknowledged) >= count)

    async def until_handled(self) -> None:
        """Wait until each message that was acknowledged is handled."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.acknowledged <= self.handled.keys())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


async def publish_all(broker: Broker, ledger: Ledger, count: int) -> None:
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            with fastrpc.timeout(60):
                await broker.publish(ORDERS, number, id=f"order-{number}")
            await ledger.note_kept(number)

    await asyncio.gather(*(some() for _ in range(8)))


async def handle_all(broker: Broker, ledger: Ledger) -> None:
    async with broker.subscribe(ORDERS, group="a", start="oldest") as messages:
        while True:
            # A server that was away for a long time raises an error, after which the iterator continues.
            with contextlib.suppress(BrokerError):
                message = await anext(messages)
                await ledger.note_handled(message.value)
                await message.ack()


async def test_no_acknowledged_message_is_lost_by_kills_of_the_server(own_nats: NatsServer) -> None:
    ledger, count = Ledger(), 4 * ROUND
    async with open_broker(f"{own_nats.url}?lease=2") as broker:
        await broker.declare(ORDERS)
        publishing = asyncio.ensure_future(publish_all(broker, ledger, count))
        handling = asyncio.ensure_future(handle_all(broker, ledger))
        for kill in (1, 2, 3):
            await ledger.until_kept(kill * ROUND)
            own_nats.kill()
            await asyncio.to_thread(own_nats.start)
        await publishing
        async with asyncio.timeout(60):
            await ledger.until_handled()
        assert len(ledger.acknowledged) == count
        # Each id is kept once, so a message comes again by its lease alone.
        assert ledger.handled.total() < 2 * count
        handling.cancel()
        await asyncio.wait([handling])


@pytest.fixture
async def proxy(nats: NatsServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(f"tcp://127.0.0.1:{nats.port}") as proxy:
        yield proxy


def through(proxy: FaultProxy, base: str) -> str:
    return f"nats{proxy.address.removeprefix('tcp')}?lease=2&base={base}"


async def test_cut_connections_lose_no_message(proxy: FaultProxy) -> None:
    ledger, count = Ledger(), 4 * ROUND
    async with open_broker(through(proxy, "cut")) as broker:
        await broker.declare(ORDERS)
        handling = asyncio.ensure_future(handle_all(broker, ledger))
        publishing = asyncio.ensure_future(publish_all(broker, ledger, count))
        for cut in (1, 2, 3):
            await ledger.until_kept(cut * ROUND)
            proxy.reset_all()
        await publishing
        async with asyncio.timeout(60):
            await ledger.until_handled()
        handling.cancel()
        await asyncio.wait([handling])


async def test_a_publication_whose_acknowledgement_is_lost_is_kept_once_under_its_id(
    proxy: FaultProxy,
) -> None:
    message = OutgoingMessage("orders.new", b"1", id="order-1")
    async with open_backend(through(proxy, "acknowledged")) as broker:
        await broker.declare(LOG)
        await broker.publish([OutgoingMessage("orders.new", b"0")])
        proxy.downstream.hold()
        with pytest.raises(BrokerError) as caught:
            await broker.publish([message])
        assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
        proxy.downstream.resume()
        (kept,) = await broker.publish([message])
        assert kept.is_duplicate


async def test_a_message_of_a_member_that_is_cut_off_goes_to_another_after_its_lease(
    nats: NatsServer, proxy: FaultProxy
) -> None:
    direct = f"{nats.url}?lease=2&base=leased"
    async with open_backend(through(proxy, "leased")) as far, open_backend(direct) as near:
        await near.declare(LOG)
        cut_off, other = await far.join(GROUP), await near.join(GROUP)
        await near.publish([OutgoingMessage("orders.new", b"1")])
        (one,) = await cut_off.take(1)
        proxy.hold()
        (again,) = await other.take(1)
        assert (again.id, again.delivery) == (one.id, 2)
        assert cut_off.is_lost(one.token)
        assert not await cut_off.ack(one.token)
        proxy.resume()
        assert await other.ack(again.token)


async def test_a_message_that_was_lost_stays_lost_when_a_late_renewal_is_answered(proxy: FaultProxy) -> None:
    async with open_backend(through(proxy, "renewed")) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("orders.new", b"1")])
        (one,) = await member.take(1)
        proxy.downstream.hold()
        await eventually(lambda: member.is_lost(one.token))
        proxy.downstream.resume()
        (again,) = await member.take(1)
        assert (again.id, again.delivery) == (one.id, 2)
        assert member.is_lost(one.token)


async def test_a_message_that_cannot_be_handed_back_comes_again_after_its_lease(
    nats: NatsServer, proxy: FaultProxy
) -> None:
    base = "handed"
    async with (
        open_backend(through(proxy, base)) as far,
        open_backend(f"{nats.url}?lease=2&base={base}") as near,
    ):
        await near.declare(LOG)
        cancelled, other = await far.join(GROUP), await near.join(GROUP)
        has_failed = asyncio.Event()

        async def fail(token: object) -> bool:
            has_failed.set()
            raise BrokerError("planted", processed="no")

        cancelled.hand_back = fail  # type: ignore[method-assign]
        taking = asyncio.ensure_future(cancelled.take(1))
        await eventually(lambda: cancelled._open)  # type: ignore[attr-defined]
        proxy.downstream.hold()
        await near.publish([OutgoingMessage("orders.new", b"1")])
        taking.cancel()
        await asyncio.wait([taking])
        proxy.downstream.resume()
        await has_failed.wait()
        (again,) = await other.take(1)
        assert again.delivery == 2


async def test_a_member_outlives_a_cut_with_its_messages(proxy: FaultProxy) -> None:
    async with open_backend(through(proxy, "outlived")) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        await broker.publish([OutgoingMessage("orders.new", b"%d" % number) for number in (1, 2)])
        (one,) = await member.take(1)
        proxy.reset_all()
        (two,) = await member.take(1)
        assert [(found.body, found.delivery) for found in (one, two)] == [(b"1", 1), (b"2", 1)]
        assert not member.is_lost(one.token)
        assert await member.ack(one.token)


async def held_by(broker: BrokerBackend, count: int) -> tuple[Membership, list[Any]]:
    """Publish messages; return a member that holds all of them, and their tokens."""
    await broker.declare(LOG)
    member = await broker.join(GROUP)
    await broker.publish([OutgoingMessage("orders.new", b"%d" % number) for number in range(count)])
    found: list[Any] = []
    while len(found) < count:
        found += [one.token for one in await member.take(count)]
    return member, found


async def test_a_batch_of_acks_with_lost_answers_can_be_repeated(proxy: FaultProxy) -> None:
    async with open_backend(through(proxy, "acks")) as broker:
        member, tokens = await held_by(broker, 4)
        proxy.downstream.hold()
        acking = asyncio.ensure_future(member.ack_many(tokens))
        await asyncio.sleep(0)
        proxy.reset_all()
        with pytest.raises(BrokerError) as caught:
            await acking
        assert (caught.value.processed, caught.value.retryable) == ("unknown", True)
        proxy.downstream.resume()
        assert not any(map(member.is_lost, tokens))
        assert await member.ack_many(tokens) == [True] * 4
        assert await member.ack_many(tokens) == [False] * 4


async def test_a_cancelled_batch_of_acks_can_be_repeated(proxy: FaultProxy) -> None:
    async with open_backend(through(proxy, "cancelled")) as broker:
        member, tokens = await held_by(broker, 4)
        proxy.downstream.hold()
        acking = asyncio.ensure_future(member.ack_many(tokens))
        await asyncio.sleep(0)
        acking.cancel()
        await asyncio.wait([acking])
        proxy.downstream.resume()
        assert await member.ack_many(tokens) == [True] * 4


async def test_one_lost_message_among_acks_is_told_alone(nats: NatsServer) -> None:
    async with open_backend(f"{nats.url}?base=lost") as broker:
        member, tokens = await held_by(broker, 3)
        assert await member.ack(tokens[1])
        assert await member.ack_many([*tokens, tokens[0]]) == [True, False, True, False]


async def test_a_publication_ends_at_its_deadline_where_the_server_is_silent(proxy: FaultProxy) -> None:
    async with open_broker(through(proxy, "silent")) as broker:
        await broker.publish(ORDERS, 1)
        proxy.downstream.hold()
        with pytest.raises(BrokerError) as caught:
            async with fastrpc.timeout(0.2):
                await broker.publish(ORDERS, 2)
        assert (caught.value.status, caught.value.processed) == (fastrpc.Status.DEADLINE_EXCEEDED, "unknown")
        proxy.downstream.resume()
        assert (await broker.publish(ORDERS, 3)).sequence == 3


async def failure_of(broker: BrokerBackend, verb: str) -> BrokerError:
    work = {
        "publish": lambda: broker.publish([OutgoingMessage("orders.new", b"")]),
        "join": lambda: broker.join(GROUP),
        "declare": lambda: broker.declare(LOG),
        "groups": broker.groups,
    }
    with pytest.raises(BrokerError) as caught:
        await work[verb]()
    return caught.value


@pytest.mark.parametrize("verb", ["publish", "join", "declare", "groups"])
async def test_a_verb_may_be_repeated_where_the_server_is_away(own_nats: NatsServer, verb: str) -> None:
    async with open_backend(own_nats.url) as broker:
        await broker.declare(LOG)
        await broker.publish([OutgoingMessage("orders.new", b"")])
        own_nats.kill()
        error = await failure_of(broker, verb)
        while error.processed == "unknown":
            # The loss of the connection was not seen yet.
            error = await failure_of(broker, verb)
        assert (error.processed, error.retryable) == ("no", True)


async def test_a_take_ends_where_the_server_is_away(own_nats: NatsServer) -> None:
    async with open_backend(own_nats.url) as broker:
        await broker.declare(LOG)
        member = await broker.join(GROUP)
        taking = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        own_nats.kill()
        with pytest.raises(BrokerError) as caught:
            await taking
        assert caught.value.retryable


async def test_a_broker_may_be_opened_before_its_server_starts(own_nats: NatsServer) -> None:
    own_nats.kill()
    async with open_backend(own_nats.url) as broker:
        own_nats.start()
        await broker.declare(LOG)


async def test_the_lease_is_renewed_after_a_fault_of_one_renewal(
    nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_backend(f"{nats.url}?lease=2&base=faulty") as broker:
        await broker.declare(LOG)
        busy, other = await broker.join(GROUP), await broker.join(GROUP)
        await broker.publish([OutgoingMessage("orders.new", b"1")])
        (one,) = await busy.take(1)
        renew, has_failed = busy._renew, asyncio.Event()  # type: ignore[attr-defined]

        async def fail_once() -> None:
            busy._renew = renew  # type: ignore[attr-defined]
            has_failed.set()
            raise ZeroDivisionError("planted")

        busy._renew = fail_once  # type: ignore[attr-defined]
        waiting = asyncio.ensure_future(other.take(1))
        await has_failed.wait()
        # More than a lease, which each renewal extends.
        await asyncio.sleep(3)
        assert not waiting.done()
        assert await busy.ack(one.token)
        waiting.cancel()
        await asyncio.wait([waiting])
    assert "the lease of messages of a is not renewed" in caplog.text
    assert "planted" in caplog.text


async def test_a_publisher_connects_again_after_a_close_that_a_broken_socket_cut_short(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise BrokenPipeError

    async with open_broker(nats_url) as broker:
        await broker.publish(ORDERS, 1)
        client = broker.backend._link._present.client  # type: ignore[attr-defined]
        monkeypatch.setattr(client._transport, "drain", broken)
        client._pending.append(b"PING\r\n")
        client._pending_data_size = 6
        client.abort()
        await eventually(lambda: client.is_closed)
        await broker.publish(ORDERS, 2)

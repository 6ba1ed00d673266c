"""The tests that every broker must pass, to run with your own broker. They need pytest with asynchronous tests.

::

    class TestMyBroker(BrokerContract):
        @pytest.fixture
        async def broker(self):
            async with MyBroker() as broker:
                yield broker
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from fastrpc.brokers.base import (
    BrokerBackend,
    Delivery,
    GroupSettings,
    Membership,
    OutgoingMessage,
    TopicSettings,
)
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from fastrpc.testing.broker_repeats import RepeatContract

__all__ = ["BrokerContract"]

_LOG = TopicSettings("orders.new")


class BrokerContract(RepeatContract):
    """The tests. A subclass has the fixture `broker`: an entered `BrokerBackend` without topics."""

    #: The stored publisher of a message of publisher "shop"; a broker with identities stores the identity.
    kept_publisher: str | None = "shop"

    async def pass_time(self, broker: BrokerBackend, seconds: float) -> None:
        """Let time pass. Override it if the broker has a test clock to move."""
        await asyncio.sleep(seconds)

    # Topics

    async def test_a_topic_may_be_declared_twice_alike(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        await broker.declare(_LOG)
        assert list(await broker.topics()) == [_LOG]

    async def test_a_topic_with_other_settings_is_refused(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        with pytest.raises(ConfigError, match="keep_seconds"):
            await broker.declare(replace(_LOG, keep_seconds=1_000.0))

    async def test_topics_never_overlap(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_patterns:
            pytest.skip("this broker has no patterns")
        await broker.declare(_LOG)
        with pytest.raises(ConfigError, match="overlaps"):
            await broker.declare(TopicSettings("orders.*"))

    async def test_a_topic_covers_its_own_name_alone(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        assert await broker.covering("orders.new") == _LOG
        assert await broker.covering("orders") is None
        assert await broker.covering("orders.new.paid") is None

    async def test_a_pattern_covers_names_and_narrower_patterns(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_patterns:
            pytest.skip("this broker has no patterns")
        topic = TopicSettings("orders.**")
        await broker.declare(TopicSettings("other"))
        await broker.declare(topic)
        for below in ("orders.new", "orders.eu.paid", "orders.*", "orders.eu.**", "orders.**"):
            assert await broker.covering(below) == topic, below
        for beyond in ("orders", "*.new", "**", "other.*"):
            assert await broker.covering(beyond) is None, beyond
        with pytest.raises(ConfigError, match="is not a topic"):
            await broker.covering("orders.")

    async def test_a_name_without_a_topic_is_not_found(self, broker: BrokerBackend) -> None:
        with pytest.raises(BrokerError) as caught:
            await broker.publish([OutgoingMessage("orders.new", b"")])
        assert (caught.value.status, caught.value.processed) == (Status.NOT_FOUND, "no")

    # Groups

    async def test_every_group_gets_every_message_and_its_members_share_them(
        self, broker: BrokerBackend
    ) -> None:
        await broker.declare(_LOG)
        first, second = [await broker.join(GroupSettings("shared", "orders.new")) for _ in range(2)]
        alone = await broker.join(GroupSettings("alone", "orders.new"))
        await _publish(broker, b"1", b"2")
        shared = [*await first.take(1), *await second.take(1)]
        assert sorted(one.body for one in shared) == [b"1", b"2"]
        assert [one.body for one in await _taken(alone, 2)] == [b"1", b"2"]

    async def test_a_message_comes_as_it_was_published(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        (kept,) = await broker.publish(
            [
                OutgoingMessage(
                    "orders.new", b"\x00\xff", "key é", "id-1", headers={"a": "é"}, publisher="shop"
                )
            ]
        )
        assert (kept.id, kept.is_duplicate) == ("id-1", False)
        (one,) = await member.take(5)
        assert (one.topic, one.body, one.key, one.id) == ("orders.new", b"\x00\xff", "key é", "id-1")
        assert (dict(one.headers), one.publisher, one.delivery) == ({"a": "é"}, self.kept_publisher, 1)
        assert one.sequence == kept.sequence
        assert one.published_at.tzinfo is not None

    async def test_a_group_begins_at_its_place(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        await _publish(broker, b"1", b"2", b"3")
        oldest = await broker.join(GroupSettings("a", "orders.new", "oldest"))
        first, second, _ = await _taken(oldest, 3)
        later = await broker.join(GroupSettings("b", "orders.new", second.sequence))
        since = await broker.join(GroupSettings("c", "orders.new", first.published_at))
        new = await broker.join(GroupSettings("d", "orders.new", "new"))
        await _publish(broker, b"4")
        assert [one.body for one in await _taken(later, 3)] == [b"2", b"3", b"4"]
        assert [one.body for one in await _taken(since, 4)] == [b"1", b"2", b"3", b"4"]
        assert [one.body for one in await _taken(new, 1)] == [b"4"]

    async def test_a_group_goes_on_where_it_was(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1", b"2")
        (one,) = await member.take(1)
        assert await member.ack(one.token)
        await member.close()
        await _publish(broker, b"3")
        member = await broker.join(GroupSettings("a", "orders.new", "oldest"))
        assert [one.body for one in await _taken(member, 2)] == [b"2", b"3"]

    async def test_a_broadcast_reaches_each_member_from_now_on(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        await _publish(broker, b"before")
        members = [await broker.join(GroupSettings(None, "orders.new")) for _ in range(2)]
        await _publish(broker, b"1")
        assert [[one.body for one in await member.take(5)] for member in members] == [[b"1"], [b"1"]]
        assert list(await broker.groups()) == []

    async def test_a_group_gets_the_names_of_its_pattern(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_patterns:
            pytest.skip("this broker has no patterns")
        await broker.declare(TopicSettings("orders.**"))
        some = await broker.join(GroupSettings("some", "orders.*.paid"))
        every = await broker.join(GroupSettings("every", "orders.**"))
        names = ["orders.new", "orders.eu.paid", "orders.eu.sent"]
        await broker.publish([OutgoingMessage(name, name.encode()) for name in names])
        assert [one.topic for one in await some.take(5)] == ["orders.eu.paid"]
        assert [one.topic for one in await _taken(every, 3)] == names

    async def test_a_member_with_another_pattern_or_order_is_refused(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        await broker.declare(TopicSettings("other"))
        await broker.join(GroupSettings("a", "orders.new"))
        with pytest.raises(ConfigError, match="pattern"):
            await broker.join(GroupSettings("a", "other"))
        with pytest.raises(ConfigError, match="no topic covers"):
            await broker.join(GroupSettings("b", "unknown"))
        if broker.limits.has_order:
            with pytest.raises(ConfigError, match="ordered"):
                await broker.join(GroupSettings("a", "orders.new", is_ordered=True))

    # Deliveries

    async def test_an_unsettled_message_is_delivered_once(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1")
        (one,) = await member.take(5)
        assert not member.is_lost(one.token)
        assert await _sees_only_later_ones(broker, member)
        assert await member.ack(one.token)
        assert not await member.ack(one.token)
        assert not member.is_lost(one.token)

    async def test_messages_are_acknowledged_together_each_once(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1", b"2", b"3")
        first, second, third = [one.token for one in await _taken(member, 3)]
        assert await member.ack(second)
        assert list(await member.ack_many([first, second, third, first])) == [True, False, True, False]
        (group,) = await broker.groups()
        assert (group.lag, group.under_way) == (0, 0)

    async def test_a_member_that_leaves_gives_its_messages_back_counted(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        leaving, staying = [await broker.join(GroupSettings("a", "orders.new")) for _ in range(2)]
        await _publish(broker, b"1")
        (one,) = await leaving.take(1)
        await leaving.close()
        await leaving.close()
        (again,) = await staying.take(1)
        assert (again.id, again.delivery) == (one.id, 2)
        assert leaving.is_lost(one.token)
        assert not await leaving.ack(one.token)

    async def test_a_retry_comes_after_its_pause_and_is_counted(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1")
        (one,) = await member.take(1)
        assert await member.nack(one.token, 1.0)
        assert await _sees_only_later_ones(broker, member)
        await self.pass_time(broker, 1.1)
        (again,) = await member.take(1)
        assert (again.id, again.delivery) == (one.id, 2)

    async def test_a_message_that_is_handed_back_is_not_counted(self, broker: BrokerBackend) -> None:
        if not broker.limits.hands_back_uncounted:
            pytest.skip("this broker counts each delivery")
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1")
        (one,) = await member.take(1)
        assert await member.hand_back(one.token)
        (again,) = await member.take(1)
        assert (again.id, again.delivery) == (one.id, 1)

    async def test_a_delayed_message_is_never_early(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_delay:
            pytest.skip("this broker has no delays")
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await broker.publish(
            [OutgoingMessage("orders.new", b"later", delay=1.0), OutgoingMessage("orders.new", b"now")]
        )
        assert [one.body for one in await member.take(5)] == [b"now"]
        assert await _sees_only_later_ones(broker, member)
        await self.pass_time(broker, 1.1)
        assert [one.body for one in await member.take(5)] == [b"later"]

    async def test_a_message_that_is_due_after_its_log_drops_it_is_refused(
        self, broker: BrokerBackend
    ) -> None:
        if not broker.limits.has_delay:
            pytest.skip("this broker has no delays")
        await broker.declare(replace(_LOG, keep_seconds=60.0))
        for delay in (60.0, 61.0, 1e300):
            with pytest.raises(BrokerError, match="keep_seconds") as caught:
                await broker.publish([OutgoingMessage("orders.new", b"", delay=delay)])
            assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        await broker.publish([OutgoingMessage("orders.new", b"", delay=59.0)])

    async def test_one_message_of_a_key_at_a_time(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_order or broker.limits.ordered_at_once is not None:
            pytest.skip("this broker has no order by key")
        await broker.declare(_LOG)
        member, other = [
            await broker.join(GroupSettings("a", "orders.new", is_ordered=True)) for _ in range(2)
        ]
        keys = ["x", "x", "y", None, None]
        await broker.publish(
            [OutgoingMessage("orders.new", str(n).encode(), key) for n, key in enumerate(keys)]
        )
        taken = await _taken(member, 4)
        assert [one.body for one in taken] == [b"0", b"2", b"3", b"4"]
        assert await member.nack(taken[0].token, 1.0)
        assert await _sees_only_later_ones(broker, other)
        await self.pass_time(broker, 1.1)
        (again,) = await other.take(5)
        assert again.body == b"0"
        assert await other.reject(again.token, "no", "")
        assert [one.body for one in await member.take(5)] == [b"1"]

    async def test_a_cancelled_take_loses_nothing(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        taking = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        publishing = asyncio.ensure_future(_publish(broker, b"1"))
        # Let other tasks run: messages may have been assigned, but `take` has not continued yet.
        await asyncio.sleep(0)
        taking.cancel()
        await publishing
        await asyncio.gather(taking, return_exceptions=True)
        (one,) = await member.take(1) if taking.cancelled() else taking.result()
        assert (one.body, one.delivery) == (b"1", 1)

    # Duplicates

    async def test_an_id_is_kept_once(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        first, second = await broker.publish([OutgoingMessage("orders.new", b"1", id="x") for _ in range(2)])
        (third,) = await broker.publish([OutgoingMessage("orders.new", b"2", id="x")])
        assert [one.is_duplicate for one in (first, second, third)] == [False, True, True]
        assert first.sequence == second.sequence == third.sequence
        assert [one.body for one in await member.take(5)] == [b"1"]

    async def test_an_id_is_forgotten_after_its_window(self, broker: BrokerBackend) -> None:
        await broker.declare(replace(_LOG, dedupe_seconds=1.0))
        for _ in range(2):
            (kept,) = await broker.publish([OutgoingMessage("orders.new", b"1", id="x")])
            assert not kept.is_duplicate
            await self.pass_time(broker, 1.1)

    # Queues

    async def test_a_queue_keeps_a_message_until_each_group_has_handled_it(
        self, broker: BrokerBackend
    ) -> None:
        groups = ("one", "two")[: broker.limits.queue_groups]
        await broker.declare(TopicSettings("jobs", None, groups))
        await _publish(broker, b"1", topic="jobs")
        for name in groups:
            member = await broker.join(GroupSettings(name, "jobs"))
            (one,) = await member.take(1)
            assert await member.ack(one.token)
        assert {group.lag for group in await broker.groups()} == {0}

    async def test_a_full_queue_refuses_until_there_is_room(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_max_bytes:
            pytest.skip("this broker has no bound of bytes")
        await broker.declare(TopicSettings("jobs", None, ("one",), max_bytes=100_000))
        member = await broker.join(GroupSettings("one", "jobs"))
        # More messages than the broker has room for.
        too_many = [_publish(broker, b"x" * 1000, topic="jobs") for _ in range(100)]
        outcomes = await asyncio.gather(*too_many, return_exceptions=True)
        refused = [one for one in outcomes if isinstance(one, BrokerError)]
        assert 10 < len(outcomes) - len(refused) < 100
        assert {(one.status, one.processed) for one in refused} == {(Status.RESOURCE_EXHAUSTED, "no")}
        assert all(one.retry_after is not None for one in refused)
        (one,) = await member.take(1)
        assert await member.ack(one.token)
        await _publish(broker, b"x" * 1000, topic="jobs")

    async def test_a_full_log_drops_the_oldest(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_max_bytes:
            pytest.skip("this broker has no bound of bytes")
        await broker.declare(replace(_LOG, max_bytes=100_000))
        member = await broker.join(GroupSettings("slow", "orders.new"))
        for number in range(200):
            await _publish(broker, b"%1000d" % number)
        (first, *_) = await member.take(1)
        assert int(first.body) > 0
        (state,) = await broker.groups()
        assert state.expired == int(first.body)
        assert state.lag == 200 - state.expired

    async def test_a_log_drops_what_is_old(self, broker: BrokerBackend) -> None:
        await broker.declare(replace(_LOG, keep_seconds=2.0))
        member = await broker.join(GroupSettings("slow", "orders.new"))
        await _publish(broker, b"1")
        await self.pass_time(broker, 2.1)
        await _publish(broker, b"2")
        assert [one.body for one in await member.take(5)] == [b"2"]
        assert [group.expired for group in await broker.groups()] == [1]

    # Dead letters

    async def test_a_dead_letter_says_how_it_died(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await broker.publish([OutgoingMessage("orders.new", b"\x00", "k", "id-1", headers={"a": "b"})])
        (one,) = await member.take(1)
        assert await member.reject(one.token, "deliveries", "ValueError: no")
        (letter,) = await broker.dead_letters("a")
        assert (letter.topic, letter.body, letter.key, letter.id) == ("orders.new", b"\x00", "k", "id-1")
        assert (dict(letter.headers), letter.sequence) == ({"a": "b"}, one.sequence)
        assert (letter.deliveries, letter.reason, letter.error) == (1, "deliveries", "ValueError: no")
        assert letter.died_at >= letter.published_at == one.published_at
        assert [(group.lag, group.dead) for group in await broker.groups()] == [(0, 1)]

    async def test_a_replay_goes_to_its_group_alone_as_delivery_1(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member, other = [await broker.join(GroupSettings(name, "orders.new")) for name in ("a", "b")]
        await _publish(broker, b"1", b"2")
        for one in await _taken(member, 2):
            assert await member.reject(one.token, "no", "")
        for one in await _taken(other, 2):
            assert await other.ack(one.token)
        dead = await broker.dead_letters("a")
        assert await broker.replay("a", [dead[1].id]) == 1
        (again,) = await member.take(5)
        assert (again.id, again.delivery) == (dead[1].id, 1)
        assert await _sees_only_later_ones(broker, other)
        assert await broker.discard("a", []) == 1
        assert list(await broker.dead_letters("a")) == []

    async def test_dead_letters_that_fill_a_group_stop_it(self, broker: BrokerBackend) -> None:
        if not broker.limits.has_max_bytes:
            pytest.skip("this broker has no bound of bytes")
        await broker.declare(replace(_LOG, max_bytes=100_000))
        member = await broker.join(GroupSettings("a", "orders.new"))
        for _ in range(2):
            await _publish(broker, b"x" * 60_000)
            (one,) = await member.take(1)
            assert await member.reject(one.token, "no", "")
        witness = await broker.join(GroupSettings("witness", "orders.new"))
        taking = asyncio.ensure_future(member.take(5))
        await asyncio.sleep(0)
        await _publish(broker, b"next")
        # When the witness gets the message, group a would have got it as well.
        assert [one.body for one in await witness.take(5)] == [b"next"]
        stopped = next(group for group in await broker.groups() if group.name == "a")
        assert (stopped.lag, stopped.under_way, taking.done()) == (1, 0, False)
        assert await broker.discard("a", []) == 2
        assert [one.body for one in await taking] == [b"next"]

    # Operators

    async def test_a_group_that_is_sought_loses_what_is_under_way(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1", b"2")
        first, _ = await _taken(member, 2)
        assert await member.ack(first.token)
        await broker.seek("a", "oldest")
        again = await _taken(member, 2)
        assert [(one.body, one.delivery) for one in again] == [(b"1", 1), (b"2", 1)]
        await broker.seek("a", "new")
        assert member.is_lost(again[0].token)
        assert not await member.ack(again[0].token)
        assert await _sees_only_later_ones(broker, member)
        with pytest.raises(ConfigError, match="place"):
            await broker.seek("a", "middle")

    async def test_a_removed_group_ends_its_takes(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        taking = asyncio.ensure_future(member.take(1))
        await asyncio.sleep(0)
        await broker.remove_group("a")
        with pytest.raises(BrokerError):
            await taking
        assert list(await broker.groups()) == []
        for verb in (broker.remove_group("a"), broker.dead_letters("a"), broker.seek("a", "new")):
            with pytest.raises(BrokerError) as caught:
                await verb
            assert caught.value.status is Status.NOT_FOUND

    async def test_groups_of_a_queue_stay(self, broker: BrokerBackend) -> None:
        await broker.declare(TopicSettings("jobs", None, ("one",)))
        with pytest.raises(BrokerError) as caught:
            await broker.remove_group("one")
        assert caught.value.status is Status.FAILED_PRECONDITION
        with pytest.raises(ConfigError, match="no group other"):
            await broker.join(GroupSettings("other", "jobs"))

    async def test_a_group_of_a_log_ends_without_members(self, broker: BrokerBackend) -> None:
        await broker.declare(replace(_LOG, keep_seconds=2.0))
        staying, leaving = [await broker.join(GroupSettings(name, "orders.new")) for name in ("a", "b")]
        began = time.monotonic()
        await leaving.close()
        await self.pass_time(broker, 1.0)
        names = [group.name for group in await broker.groups()]
        # If the machine stalled, the broker's clock may be ahead.
        if time.monotonic() < began + 2.0:
            assert names == ["a", "b"]
        await self.pass_time(broker, 1.1)
        assert [group.name for group in await broker.groups()] == ["a"]
        await staying.close()

    async def test_a_group_tells_its_state(self, broker: BrokerBackend) -> None:
        await broker.declare(_LOG)
        member = await broker.join(GroupSettings("a", "orders.new"))
        await _publish(broker, b"1", b"2", b"3")
        first, _ = await _taken(member, 2)
        assert await member.ack(first.token)
        (state,) = await broker.groups()
        assert (state.name, state.topic, state.pattern) == ("a", "orders.new", "orders.new")
        assert (state.members, state.lag, state.under_way, state.dead, state.expired) == (1, 2, 1, 0, 0)
        assert state.oldest_seconds >= 0.0


async def _publish(broker: BrokerBackend, *bodies: bytes, topic: str = "orders.new") -> None:
    await broker.publish([OutgoingMessage(topic, body) for body in bodies])


async def _taken(member: Membership, count: int) -> Sequence[Delivery]:
    """Return the next messages of a member."""
    found: list[Delivery] = []
    while len(found) < count:
        found += await member.take(count - len(found))
    return found


async def _sees_only_later_ones(broker: BrokerBackend, member: Membership) -> bool:
    """Return whether a member gets only a message that is published now, and no earlier message."""
    await _publish(broker, b"marker")
    found = await member.take(5)
    for one in found:
        if one.body == b"marker":
            await member.ack(one.token)
    return [one.body for one in found] == [b"marker"]

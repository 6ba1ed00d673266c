"""Publications that are repeated under ids that nothing indexes: by the rules, and across restarts of a folder."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from fastrpc.brokers.base import BrokerLimits, GroupSettings, OutgoingMessage, Published, TopicSettings
from fastrpc.brokers.embedded import EmbeddedBroker
from fastrpc.brokers.local.cache import RecordCache
from fastrpc.brokers.local.log import Log
from fastrpc.brokers.local.records import MessagesAppended
from fastrpc.brokers.sqlite import SqliteBrokerJournal
from fastrpc.errors import BrokerError
from fastrpc.status import Status
from tests.support.broker_folder import GROUP, LOG, Times, publish, stopped, taken
from tests.support.broker_scene import Scene

QUEUE = TopicSettings("a", None, ("g",))


def message(made_id: str, age: float = 0.0, *, topic: str = "a", delay: float = 0.0) -> OutgoingMessage:
    return OutgoingMessage(topic, b"1", made_id=made_id, age=age, delay=delay)


def cache_of(scene: Scene) -> RecordCache:
    cache = scene.core.topics["a"].log._cache
    assert cache is not None
    return cache


def numbers(published: Sequence[Published]) -> list[tuple[int, bool]]:
    return [(one.sequence, one.is_duplicate) for one in published]


class TestRules:
    """The part without input and output."""

    def test_a_first_attempt_has_its_id_and_no_index(self) -> None:
        scene = Scene()
        (one,) = scene.publish(message("r-1"))
        assert (one.id, one.is_duplicate) == ("r-1", False)
        assert scene.core.topics["a"].ids.size == 0
        assert [change.with_own_ids for change in scene.changes if type(change) is MessagesAppended] == [[]]

    def test_a_repeat_of_a_kept_message_is_a_duplicate(self) -> None:
        scene = Scene()
        scene.publish(message("r-1"), message("r-2"))
        scene.now += 7
        assert numbers(scene.publish(message("r-2", 7.0))) == [(2, True)]
        assert numbers(scene.publish(message("r-1", 7.0), message("r-3", 7.0))) == [(1, True), (3, False)]

    @pytest.mark.parametrize("topic", [QUEUE, TopicSettings("a", max_bytes=2_000)], ids=["queue", "log"])
    def test_a_repeat_of_a_message_that_its_commit_drops_is_a_duplicate(self, topic: TopicSettings) -> None:
        scene = Scene(topic, cache_bytes=1_000)
        if topic is QUEUE:
            # No group has to handle the messages.
            scene.core.seek("g", 100, scene.now, scene.wall)
        scene.publish(*(message(f"r-{number}") for number in range(1, 21)))
        scene.now += 1.0
        assert numbers(scene.publish(message("r-1", 1.0))) == [(1, True)]
        # The records that stay are within the bound.
        assert cache_of(scene).size <= 1_000

    def test_a_repeat_of_a_message_that_a_later_name_of_its_commit_drops_is_a_duplicate(self) -> None:
        scene = Scene(TopicSettings("a", max_bytes=2_000), cache_bytes=10_000)
        scene.core.declare(TopicSettings("b"), scene.now)
        scene.publish(message("r-1"), message("r-2"))
        # The messages of b fill the cache, and then the messages of a replace the earlier ones.
        others = (message(f"b-{number}", topic="b") for number in range(20))
        scene.publish(*others, message("r-3"), message("r-4"))
        scene.now += 1.0
        assert numbers(scene.publish(message("r-1", 1.0), message("r-2", 1.0))) == [(1, True), (2, True)]
        assert cache_of(scene).size <= 10_000

    def test_a_repeat_of_one_of_many_messages_that_a_commit_drops_is_a_duplicate(self) -> None:
        most_bytes = 1_500 * 810
        scene = Scene(TopicSettings("a", max_bytes=most_bytes), cache_bytes=most_bytes)
        scene.publish(*(message(f"r-{number:05}") for number in range(1, 1_501)))
        scene.publish(*(message(f"r-{number:05}") for number in range(1_501, 3_001)))
        assert cache_of(scene).size <= most_bytes
        scene.core.advance(scene.now)
        scene.now += 1.0
        assert numbers(scene.publish(message("r-01400", 1.0))) == [(1_400, True)]

    def test_places_of_messages_that_are_handled_leave_with_them(self) -> None:
        scene = Scene(QUEUE, cache_bytes=10_000_000)
        scene.publish(*(message(f"r-{number}") for number in range(5_000)))
        assert cache_of(scene).places == 5_000
        for delivery in scene.take(5_000):
            assert scene.group.settle(delivery.token, scene.now)
        assert cache_of(scene).places <= 1_000

    def test_a_repeat_finds_a_message_that_waits_for_its_commit(self) -> None:
        scene = Scene()
        _, records = scene.keep(message("r-1"))
        assert numbers(scene.keep(message("r-1", 0.1))[0]) == [(1, True)]
        scene.core.committed(records, scene.now)
        assert len(scene.take()) == 1

    def test_a_repeat_of_a_message_that_was_undone_is_kept(self) -> None:
        scene = Scene()
        scene.keep(message("r-1"))
        assert numbers(scene.keep(message("r-1", 0.1))[0]) == [(1, True)]
        scene.core.undo()
        assert numbers(scene.publish(message("r-1", 0.2))) == [(1, False)]

    def test_a_first_attempt_after_its_repeat_is_a_duplicate(self) -> None:
        scene = Scene()
        assert numbers(scene.publish(message("r-1", 0.5))) == [(1, False)]
        assert numbers(scene.publish(message("r-1"))) == [(1, True)]
        assert numbers(scene.publish(message("r-2"), message("r-1"))) == [(2, False), (1, True)]

    def test_a_message_that_its_group_has_handled_is_not_kept_again(self) -> None:
        scene = Scene(QUEUE)
        scene.publish(message("r-1"))
        (delivery,) = scene.take()
        assert scene.group.settle(delivery.token, scene.now)
        assert scene.core.topics["a"].log.size == 0
        assert numbers(scene.publish(message("r-1", 0.5))) == [(1, True)]

    def test_a_message_that_a_full_log_dropped_is_not_kept_again(self) -> None:
        scene = Scene(TopicSettings("a", max_bytes=2_000))
        for number in range(5):
            scene.publish(message(f"r-{number}"))
        assert numbers(scene.publish(message("r-0", 0.5))) == [(1, True)]

    def test_a_delayed_message_is_kept_once_and_is_due_as_it_was(self) -> None:
        scene = Scene()
        scene.publish(message("r-1", delay=10.0))
        scene.now += 6
        assert numbers(scene.publish(message("r-1", 6.0, delay=10.0))) == [(1, True)]
        scene.now += 4
        scene.core.advance(scene.now)
        assert len(scene.take()) == 1

    def test_a_repeat_from_before_the_ids_that_are_remembered_is_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.removed.REMOVED_IDS", 2)
        scene = Scene(QUEUE)
        for number in range(8):
            scene.publish(message(f"r-{number}"))
            (delivery,) = scene.take()
            scene.group.settle(delivery.token, scene.now)
            scene.now += 10
        # The latest ones are remembered, and no other one was kept within the time of the last repeat.
        assert numbers(scene.publish(message("r-7", 10.0))) == [(8, True)]
        assert numbers(scene.publish(message("r-9", 1.0))) == [(9, False)]
        with pytest.raises(BrokerError, match="cannot be told") as caught:
            scene.publish(message("r-0", 80.0))
        assert (caught.value.status, caught.value.processed) == (Status.FAILED_PRECONDITION, "no")
        assert not caught.value.retryable

    def test_another_topic_that_forgets_ids_spoils_no_repeat(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.removed.REMOVED_IDS", 2)
        scene = Scene(QUEUE)
        scene.core.declare(TopicSettings("b"), scene.now)
        for number in range(8):
            scene.publish(message(f"r-{number}"))
            (delivery,) = scene.take()
            scene.group.settle(delivery.token, scene.now)
        assert numbers(scene.publish(message("s-1", 1.0, topic="b"))) == [(1, False)]

    def test_a_repeat_that_is_too_old_spoils_no_later_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.repeats._MOST_MESSAGES", 5)
        scene = Scene()
        for number in range(20):
            scene.publish(message(f"r-{number}"))
            scene.now += 10
        for age in (1e9, 100.0):
            with pytest.raises(BrokerError, match="some [0-9]+ messages came since"):
                scene.publish(message("r-0", age))
        assert numbers(scene.publish(message("r-19", 10.0))) == [(20, True)]

    def test_many_messages_between_two_repeats_spoil_no_later_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.repeats._MOST_MESSAGES", 5)
        scene = Scene()
        for number in range(4):
            for step in range(8):
                scene.publish(message(f"r-{number}-{step}"))
                scene.now += 3
            scene.publish(message(f"last-{number}"))
            assert numbers(scene.publish(message(f"last-{number}", 0.1)))[0][1]

    def test_ids_of_other_topics_make_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.repeats._MOST_MESSAGES", 5)
        scene = Scene()
        for topic in "bcde":
            scene.core.declare(TopicSettings(topic), scene.now)
            for number in range(4):
                scene.publish(message(f"{topic}-{number}", topic=topic))
            assert numbers(scene.publish(message(f"{topic}-3", 0.1, topic=topic))) == [(4, True)]
        assert sum(len(known.numbers) for known in scene.core.repeats._known.values()) <= 10

    def test_ids_are_forgotten_after_the_last_repeat(self) -> None:
        scene = Scene()
        scene.publish(message("r-1"))
        scene.publish(message("r-1", 0.5))
        repeats = scene.core.repeats
        assert repeats._known
        due = scene.core.next_due()
        assert due is not None
        scene.now = due
        scene.core.advance(scene.now)
        assert not repeats._known


async def test_a_repeat_across_a_restart_is_kept_once(
    folder: Path, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    between = Log.between

    def noted(log: Log, first: int, last: int) -> list[int]:
        found = between(log, first, last)
        looked_at.extend(found)
        return found

    monkeypatch.setattr(Log, "between", noted)
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.publish([message(f"r-{number}") for number in range(100)])
    times.clock.advance(3.0)
    async with stopped(folder, times) as broker:
        repeats = [broker.publish([message(f"r-{number}", 3.0 + number / 100)]) for number in range(1_000)]
        published = await asyncio.gather(*repeats)
        assert sum(one.is_duplicate for (one,) in published) == 100
        assert len({one.sequence for (one,) in published}) == 1_000
        # The one reading of the first repeat is for all of them, and each new message is looked at once.
        assert sorted(looked_at) == list(range(1, 1_000))
        (one,) = await broker.publish([message("r-999")])
        assert one.is_duplicate
    async with stopped(folder, times) as broker:
        assert numbers(await broker.publish([message("r-999", 9.0), message("r-5", 9.0)])) == [
            (published[999][0].sequence, True),
            (6, True),
        ]


@pytest.mark.parametrize("jump", [-3_600.0, 3_600.0])
async def test_a_wall_clock_that_jumps_across_a_restart_hides_no_message(
    folder: Path, times: Times, jump: float
) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.publish([message("r-1")])
    times.jump += jump
    async with stopped(folder, times) as broker:
        assert numbers(await broker.publish([message("r-1", 1.0)])) == [(1, True)]


async def test_a_queue_remembers_handled_messages_across_a_restart(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(QUEUE)
        member = await broker.join(GROUP)
        await broker.publish([message("r-1"), message("r-2"), message("r-3")])
        for one in (await taken(member, 3))[:2]:
            assert await member.ack(one.token)
    times.clock.advance(1.0)
    async with stopped(folder, times) as broker:
        found = await broker.publish([message(f"r-{number}", 1.0) for number in range(1, 5)])
        assert [one.is_duplicate for one in found] == [True, True, True, False]
        (state,) = await broker.groups()
        assert state.lag == 2


async def test_a_folder_of_an_earlier_version_says_that_it_cannot_tell(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(QUEUE)
        await broker.publish([message("r-1")])
    with closing(sqlite3.connect(folder / "broker.db", isolation_level=None)) as connection:
        connection.execute("DROP TABLE removed")
    times.clock.advance(1.0)
    async with stopped(folder, times) as broker:
        assert [one.is_duplicate for one in await broker.publish([message("r-1", 1.0)])] == [True]
        with pytest.raises(BrokerError, match="cannot be told"):
            await broker.publish([message("r-2", 1.0)])
        times.clock.advance(10.0)
        assert [one.is_duplicate for one in await broker.publish([message("r-2", 1.0)])] == [False]


async def test_rows_of_removed_messages_are_bounded(
    folder: Path, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("local", "sqlite"):
        monkeypatch.setattr(f"fastrpc.brokers.{module}.removed.REMOVED_IDS", 3)
    async with stopped(folder, times) as broker:
        await broker.declare(QUEUE)
        member = await broker.join(GROUP)
        for number in range(20):
            await broker.publish([message(f"r-{number}")])
            for one in await taken(member, 1):
                assert await member.ack(one.token)
            times.clock.advance(10.0)
    with closing(sqlite3.connect(folder / "broker.db", isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM removed").fetchone()[0] <= 6
    async with stopped(folder, times) as broker:
        assert [one.is_duplicate for one in await broker.publish([message("r-19", 10.0)])] == [True]
        assert [one.is_duplicate for one in await broker.publish([message("r-20", 1.0)])] == [False]
        with pytest.raises(BrokerError, match="cannot be told"):
            await broker.publish([message("r-1", 190.0)])


async def test_rows_of_removed_messages_are_bounded_over_many_starts(
    folder: Path, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("local", "sqlite"):
        monkeypatch.setattr(f"fastrpc.brokers.{module}.removed.REMOVED_IDS", 3)
    for start in range(8):
        async with stopped(folder, times) as broker:
            await broker.declare(QUEUE)
            member = await broker.join(GROUP)
            for number in range(2):
                await broker.publish([message(f"r-{start}-{number}")])
                for one in await taken(member, 1):
                    assert await member.ack(one.token)
                times.clock.advance(10.0)
    with closing(sqlite3.connect(folder / "broker.db", isolation_level=None)) as connection:
        assert connection.execute("SELECT count(*) FROM removed").fetchone()[0] <= 6
    async with stopped(folder, times) as broker:
        assert numbers(await broker.publish([message("r-7-1", 10.0)]))[0][1]
        for old in ("r-0-0", "r-5-1"):
            with pytest.raises(BrokerError, match="cannot be told"):
                await broker.publish([message(old, 200.0)])


async def test_messages_that_left_memory_are_found_in_the_file(folder: Path, times: Times) -> None:
    journal = SqliteBrokerJournal(folder, sync="normal", clock=times.clock)
    limits = BrokerLimits("sqlite")
    async with EmbeddedBroker(limits, journal, clock=times.clock, wall=times.wall, cache_bytes=0) as broker:
        await broker.declare(LOG)
        for start in range(0, 100, 10):
            await broker.publish([message(f"r-{number}") for number in range(start, start + 10)])
        found = await asyncio.gather(
            *(broker.publish([message(f"r-{number}", 1.0)]) for number in range(101))
        )
        assert [one.is_duplicate for (one,) in found] == [True] * 100 + [False]


async def test_a_cancelled_repeat_ends_no_reading(folder: Path, times: Times) -> None:
    async with stopped(folder, times) as broker:
        await broker.declare(LOG)
        await broker.publish([message("r-1")])
    async with stopped(folder, times) as broker:
        first = asyncio.ensure_future(broker.publish([message("r-1", 1.0)]))
        second = asyncio.ensure_future(broker.publish([message("r-2", 1.0)]))
        await asyncio.sleep(0)
        first.cancel()
        assert [one.is_duplicate for one in await second] == [False]
        member = await broker.join(GroupSettings("new", "a", "oldest"))
        assert len(await taken(member, 2)) == 2


async def test_a_log_without_its_first_messages_recognises_repeats_of_later_ones(
    folder: Path, times: Times
) -> None:
    settings = TopicSettings("a", keep_seconds=100.0)
    async with stopped(folder, times) as broker:
        await broker.declare(settings)
        await publish(broker, b"old")
        times.clock.advance(200.0)
        broker.catch_up()
        await broker.publish([message("r-1")])
    async with stopped(folder, times) as broker:
        found = await broker.publish([message("r-1", 1.0), message("r-2", 1.0)])
        assert [one.is_duplicate for one in found] == [True, False]

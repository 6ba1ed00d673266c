"""The rules of the broker of this process, with a clock that each test sets."""

from datetime import datetime, timedelta

import pytest

from fastrpc.brokers.base import GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.errors import BrokerError, ConfigError
from fastrpc.status import Status
from tests.support.broker_scene import WALL, Scene


class TestTopics:
    @pytest.mark.parametrize(
        ("topic", "fault"),
        [
            (TopicSettings("b", keep_seconds=None), "the queue b has no groups"),
            (TopicSettings("b", keep_seconds=0.0), "keep_seconds of the topic 'b' is 0.0"),
            (TopicSettings("b", keep_seconds=float("inf")), "keep_seconds of the topic 'b' is inf"),
            (
                TopicSettings("b", keep_seconds=10**5000),
                "keep_seconds of the topic 'b' is a number of 16610 bits",
            ),
            (TopicSettings("b", max_bytes=0), "max_bytes of the topic 'b' is 0"),
            (
                TopicSettings("b", max_bytes=2**63),
                "max_bytes of the topic 'b' is 9223372036854775808, it must be",
            ),
            (TopicSettings("b", max_bytes=10**5000), "max_bytes of the topic 'b' is a number of 16610 bits"),
            (TopicSettings("b", max_bytes=1.5), "max_bytes of the topic 'b' is 1.5"),  # type: ignore[arg-type]
            (TopicSettings("b", dedupe_seconds=-1.0), "dedupe_seconds of the topic 'b' is -1.0"),
            (TopicSettings("b", dedupe_seconds=0.0), "dedupe_seconds of the topic 'b' is 0.0"),
            (
                TopicSettings("b", dedupe_seconds=10**5000),
                "dedupe_seconds of the topic 'b' is a number of 16610 bits",
            ),
            (TopicSettings("b", groups=("x",)), "the topic 'b' is a log with groups"),
            (TopicSettings("b", None, ("x", "x")), "names a group twice"),
            (TopicSettings("b", None, ("x y",)), "not the name of a group"),
            (TopicSettings("b", None, ("g",)), "the group g of b belongs to a"),
            (TopicSettings("**"), "overlaps with the topic a"),
            (TopicSettings("a", max_bytes=5), "max_bytes=1073741824, not 5"),
        ],
    )
    def test_wrong_settings_are_refused(self, topic: TopicSettings, fault: str) -> None:
        with pytest.raises(ConfigError, match=fault.replace("*", r"\*")):
            Scene().core.declare(topic, 0.0)

    def test_topics_have_a_limit_that_a_pattern_keeps_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.core._MOST_TOPICS", 3)
        scene = Scene()
        for name in ("user.1", "users.*"):
            scene.core.declare(TopicSettings(name), scene.now)
        with pytest.raises(BrokerError, match=r"the limit is 3.*users\.\*") as caught:
            scene.core.declare(TopicSettings("user.2"), scene.now)
        assert (caught.value.status, caught.value.retryable) == (Status.RESOURCE_EXHAUSTED, False)
        scene.core.declare(TopicSettings("user.1"), scene.now)
        scene.publish(*(OutgoingMessage(f"users.{number}", b"") for number in range(10)))

    def test_a_message_is_given_to_no_pattern_even_if_a_topic_has_it(self) -> None:
        scene = Scene(TopicSettings("a"))
        scene.core.declare(TopicSettings("b.*"), scene.now)
        scene.publish(OutgoingMessage("b.c", b""))
        with pytest.raises(ConfigError, match="is a pattern"):
            scene.publish(OutgoingMessage("b.*", b""))

    def test_the_groups_of_a_queue_begin_with_it(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g", "early")))
        scene.put("1")
        scene.group, scene.member = scene.join(GroupSettings("early", "a", "new", is_ordered=True))
        assert scene.taken() == ["1"]

    def test_a_group_of_a_queue_has_the_whole_topic(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",)))
        with pytest.raises(ConfigError, match="has no group other"):
            scene.join(GroupSettings("other", "a"))
        with pytest.raises(ConfigError, match="has the pattern a, not b"):
            scene.join(GroupSettings("g", "b"))


class TestPublishing:
    @pytest.mark.parametrize(
        ("message", "fault"),
        [
            (OutgoingMessage("a", b"x" * (1024 * 1024 + 1)), "1048577 bytes"),
            (OutgoingMessage("a", b"", headers={"x": "é" * 4096}), "8193 bytes of headers"),
            (OutgoingMessage("a", b"", "k" * 513), "513 bytes of its key"),
            (OutgoingMessage("a", b"", id="i" * 513), "513 bytes of its id"),
            (OutgoingMessage("a", b"", delay=-1.0), "delay of -1.0"),
            (OutgoingMessage("a", b"", delay=float("nan")), "delay of nan"),
            (OutgoingMessage("a", b"", delay=float("inf")), "delay of inf"),
            (OutgoingMessage("a", b"", delay=10**5000), "delay of a number of 16610 bits"),
            (
                OutgoingMessage("a", b"", delay=604_800.0),
                "delay of 604800.0 seconds, and a keeps a message for 604800.0 seconds .raise keep_seconds",
            ),
        ],
    )
    def test_a_message_out_of_bounds_is_refused_with_its_whole_batch(
        self, message: OutgoingMessage, fault: str
    ) -> None:
        scene = Scene()
        with pytest.raises(BrokerError, match=fault) as caught:
            scene.publish(OutgoingMessage("a", b"good"), message)
        assert (caught.value.status, caught.value.processed) == (Status.INVALID_ARGUMENT, "no")
        assert scene.taken() == []

    def test_messages_without_an_id_get_ids_that_differ(self) -> None:
        scene = Scene()
        kept = scene.publish(*(OutgoingMessage("a", b"") for _ in range(3)))
        assert len({one.id for one in kept}) == 3

    def test_a_queue_keeps_a_message_with_any_delay(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",)))
        scene.put("late", delay=1e9)
        scene.now += 1e9
        assert scene.taken() == ["late"]

    def test_a_full_queue_says_when_to_try_again_but_knows_duplicates(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",), max_bytes=5_000))
        scene.publish(OutgoingMessage("a", b"x" * 3_000, id="1"))
        with pytest.raises(BrokerError, match="the queue a has") as caught:
            scene.publish(OutgoingMessage("a", b"x" * 3_000, id="2"))
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        assert caught.value.retryable
        assert caught.value.retry_after == 1.0
        (again,) = scene.publish(OutgoingMessage("a", b"x" * 3_000, id="1"))
        assert again.is_duplicate

    @pytest.mark.parametrize("keep_seconds", [None, 60.0])
    def test_a_message_above_the_bound_of_its_topic_never_fits(self, keep_seconds: float | None) -> None:
        groups = ("g",) if keep_seconds is None else ()
        scene = Scene(TopicSettings("a", keep_seconds, groups, max_bytes=5_000))
        with pytest.raises(BrokerError, match="the limit of the topic is 5000") as caught:
            scene.put("x" * 5_000)
        assert caught.value.status is Status.INVALID_ARGUMENT

    def test_ids_have_a_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.topic._IDS_BYTES", 1_000)
        scene = Scene(TopicSettings("a", max_bytes=2_000))
        for number in range(8):
            scene.publish(OutgoingMessage("a", b"", id=str(number)))
        scene.now += 20.0
        with pytest.raises(BrokerError, match="lower dedupe_seconds") as caught:
            scene.publish(OutgoingMessage("a", b"", id="more"))
        assert caught.value.retry_after == 100.0
        scene.now += 100.0
        scene.publish(OutgoingMessage("a", b"", id="more"))

    def test_a_full_table_of_ids_refuses_no_message_without_one(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fastrpc.brokers.local.topic._IDS_BYTES", 1_000)
        scene = Scene(TopicSettings("a", max_bytes=2_000))
        for number in range(8):
            scene.publish(OutgoingMessage("a", b"", id=str(number)))
        scene.put("at once")
        scene.put("at once", "beside another")
        scene.publish(OutgoingMessage("a", b"", id="1"), OutgoingMessage("a", b""))
        scene.now += 120.0
        scene.put("long after")
        assert scene.core.topics["a"].ids.size == 0

    def test_a_message_is_delivered_after_its_commit(self) -> None:
        scene = Scene()
        _, records = scene.keep(OutgoingMessage("a", b"1"), OutgoingMessage("a", b"2"))
        assert scene.taken() == []
        assert scene.lag() == [0]
        scene.core.committed(records[:1], scene.now)
        assert scene.taken() == ["1"]
        scene.core.committed(records[1:], scene.now)
        assert scene.taken() == ["2"]

    def test_messages_that_are_undone_were_never_there(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",), max_bytes=5_000))
        (kept,), _ = scene.keep(OutgoingMessage("a", b"x" * 4_000, id="1"))
        scene.core.undo()
        (again,) = scene.publish(OutgoingMessage("a", b"y" * 4_000, id="1"))
        assert (again.sequence, again.is_duplicate) == (kept.sequence, False)
        assert scene.taken() == ["y" * 4_000]


class TestOrder:
    def test_messages_start_in_the_order_in_which_they_were_kept(self) -> None:
        scene = Scene()
        scene.put("1", "2", "3")
        first, second = scene.take(2)
        scene.again(second, 0.0)
        scene.again(first, 0.0)
        assert scene.taken() == ["1", "2", "3"]

    def test_a_retry_and_a_delay_hold_their_key(self) -> None:
        scene = Scene(is_ordered=True)
        scene.put("a1", "a2", key="a")
        scene.put("b1", key="b", delay=5.0)
        scene.put("b2", key="b")
        scene.put("free")
        first, free = scene.take()
        assert (first.body, free.body) == (b"a1", b"free")
        scene.again(first, 10.0)
        assert scene.taken() == []
        scene.now += 5.0
        (delayed,) = scene.take()
        assert delayed.body == b"b1"
        assert scene.group.settle(delayed.token, scene.now)
        assert scene.taken() == ["b2"]
        scene.now += 5.0
        (first,) = scene.take()
        assert scene.group.reject(first.token, "no", "", scene.now, scene.wall)
        assert scene.taken() == ["a2"]

    def test_a_key_holds_nothing_in_a_group_without_order(self) -> None:
        scene = Scene()
        scene.put("1", "2", key="a")
        assert scene.taken() == ["1", "2"]

    def test_a_replay_waits_for_the_message_of_its_key(self) -> None:
        scene = Scene(is_ordered=True)
        scene.put("1", "2", "3", key="a")
        (first,) = scene.take()
        scene.group.reject(first.token, "no", "", scene.now, scene.wall)
        (second,) = scene.take()
        assert scene.group.replay([], scene.now) == 1
        assert scene.taken() == []
        scene.group.settle(second.token, scene.now)
        assert scene.taken() == ["1"]

    def test_the_order_of_a_group_may_change_while_it_has_no_member(self) -> None:
        scene = Scene()
        scene.put("1", "2", key="a")
        scene.take()
        with pytest.raises(ConfigError, match="the group g has unordered members"):
            scene.join(GroupSettings("g", "a", is_ordered=True))
        scene.core.leave(scene.group, scene.member, scene.now)
        scene.group, scene.member = scene.join(GroupSettings("g", "a", is_ordered=True))
        assert scene.taken() == ["1"]

    def test_a_dropped_message_frees_its_key(self) -> None:
        scene = Scene(TopicSettings("a", keep_seconds=10.0), is_ordered=True)
        scene.put("1", key="a")
        scene.again(scene.take()[0], 100.0)
        scene.now += 5.0
        scene.put("2", key="a")
        assert scene.taken() == []
        scene.now += 5.0
        scene.core.advance(scene.now)
        assert scene.taken() == ["2"]


class TestRetries:
    @pytest.mark.parametrize(
        "pause",
        [-1.0, float("nan"), float("inf"), 10**5000, -(10**5000)],
        ids=["below 0", "nan", "inf", "long", "long, below 0"],
    )
    def test_a_pause_that_is_no_time_is_refused(self, pause: float) -> None:
        scene = Scene()
        scene.put("1")
        (one,) = scene.take()
        with pytest.raises(ConfigError, match="the pause before a retry"):
            scene.group.retry(one.token, pause, scene.now)
        assert scene.group.settle(one.token, scene.now)

    def test_a_handed_back_message_is_counted_by_its_retries_alone(self) -> None:
        scene = Scene()
        scene.put("1")
        numbers = []
        for step in ("retry", "back", "back", "retry", "back"):
            (one,) = scene.take()
            numbers.append(one.delivery)
            if step == "retry":
                scene.again(one, 0.0)
            else:
                assert scene.group.hand_back(one.token, scene.now)
        assert numbers == [1, 2, 2, 2, 3]


class TestGroups:
    def test_a_place_in_time_follows_the_clock_of_the_broker(self) -> None:
        scene = Scene()
        for body in "123":
            scene.put(body)
            scene.now += 10.0
        # The wall clock jumps by a day; the ages of messages do not change.
        wall = scene.wall + timedelta(days=1)
        scene.group, scene.member = scene.core.join(
            GroupSettings("late", "a", wall - timedelta(seconds=20)), scene.now, wall
        )
        assert scene.taken() == ["2", "3"]

    @pytest.mark.parametrize(
        "place",
        ["middle", -1, True, 2**63, 10**5000, datetime(2026, 1, 1)],  # noqa: DTZ001
        ids=["word", "below 0", "bool", "65 bits", "long", "no zone"],
    )
    def test_another_place_is_refused(self, place: object) -> None:
        with pytest.raises(ConfigError, match="place"):
            Scene().core.seek("g", place, 0.0, WALL)  # type: ignore[arg-type]

    def test_a_group_that_is_sought_beyond_the_end_waits_for_that_number(self) -> None:
        scene = Scene()
        scene.core.seek("g", 3, scene.now, scene.wall)
        scene.put("1", "2", "3")
        assert scene.taken() == ["3"]

    def test_a_seek_makes_a_queue_keep_messages_that_the_group_has_to_handle(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g", "other")))
        scene.put("1", "2")
        for one in scene.take():
            scene.group.settle(one.token, scene.now)
        scene.core.seek("g", "oldest", scene.now, scene.wall)
        assert scene.lag() == [2, 2]
        scene.core.seek("other", "new", scene.now, scene.wall)
        assert scene.lag() == [2, 0]
        for one in scene.take():
            scene.group.settle(one.token, scene.now)
        assert scene.core.topics["a"].log.size == 0

    def test_a_queue_keeps_nothing_for_a_broadcast(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",), max_bytes=5_000))
        broadcast, listener = scene.join(GroupSettings(None, "a"))
        scene.put("1", "2", "3")
        heard = scene.core.take(broadcast, listener, 1, scene.now)
        for _ in range(10):
            for one in scene.take():
                scene.group.settle(one.token, scene.now)
            assert len(scene.core.topics["a"].log) == 0
            scene.put("4", "5", "6")
        assert broadcast.lag == 4
        assert broadcast.settle(heard[0].token, scene.now)
        # It has only the messages that the group has not handled.
        assert [one.body for one in scene.core.take(broadcast, listener, 10, scene.now)] == [b"4", b"5", b"6"]

    def test_a_broadcast_hears_no_message_that_its_queue_drops_at_once(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",)))
        broadcast, listener = scene.join(GroupSettings(None, "a"))
        scene.core.seek("g", 3, scene.now, scene.wall)
        scene.put("1", "2", "3")
        assert (broadcast.lag, broadcast.expired) == (1, 2)
        assert [one.body for one in scene.core.take(broadcast, listener, 10, scene.now)] == [b"3"]

    def test_a_queue_group_stays_without_members(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",)))
        scene.core.leave(scene.group, scene.member, scene.now)
        assert scene.core.next_due() is None

    def test_a_message_that_was_dropped_under_way_may_still_be_handled(self) -> None:
        scene = Scene(TopicSettings("a", keep_seconds=10.0))
        scene.put("1", "2")
        first, second = scene.take()
        scene.now += 10.0
        scene.core.advance(scene.now)
        assert scene.group.settle(first.token, scene.now)
        scene.again(second, 0.0)
        assert scene.taken() == []
        (state,) = scene.core.groups(scene.now)
        assert (state.lag, state.expired) == (0, 1)

    def test_a_slow_group_is_told_of_once_a_minute(self) -> None:
        scene = Scene(TopicSettings("a", keep_seconds=1.0))
        for _ in range(130):
            scene.put("1")
            scene.now += 1.0
            scene.core.advance(scene.now)
        assert [text.split(":")[1].split(" messages")[0] for text in scene.told] == [" 1", " 60", " 60"]

    def test_messages_of_a_broadcast_are_counted_separately(self) -> None:
        scene = Scene(TopicSettings("a", keep_seconds=10.0), settings=GroupSettings(None, "a"))
        scene.put("rejected")
        (one,) = scene.take()
        assert scene.group.reject(one.token, "no", "", scene.now, scene.wall)
        scene.put("dropped")
        scene.now += 10.0
        scene.core.advance(scene.now)
        counts = scene.core.topics["a"].counts
        assert (counts.dead, counts.expired, counts.missed) == (0, 0, 2)
        assert scene.told == []

    def test_replays_after_a_seek_start_in_their_order(self) -> None:
        scene = Scene(TopicSettings("a", None, ("g",)))
        scene.publish(*(OutgoingMessage("a", b"1", id=str(number)) for number in range(3)))
        first, second, third = scene.take()
        assert scene.group.settle(first.token, scene.now)
        for one in (second, third):
            assert scene.group.reject(one.token, "no", "", scene.now, scene.wall)
        scene.core.seek("g", "oldest", scene.now, scene.wall)
        # The log no longer has any of them: the later one comes first, and the cursor stays before both.
        assert scene.group.replay([third.id], scene.now) == 1
        (again,) = scene.take()
        assert scene.group.retry(again.token, 0.0, scene.now)
        assert scene.group.replay([second.id], scene.now) == 1
        assert [one.sequence for one in scene.take()] == [2, 3]

    def test_the_oldest_message_counts_retries_and_replays(self) -> None:
        scene = Scene()
        scene.put("1", "2")
        scene.now += 10.0
        scene.put("3")
        first, second, _ = scene.take()
        scene.group.settle(first.token, scene.now)
        scene.again(second, 100.0)
        assert [group.oldest_seconds for group in scene.core.groups(scene.now)] == [10.0]
        scene.now += 100.0
        (second,) = scene.take()
        scene.group.reject(second.token, "no", "", scene.now, scene.wall)
        assert [group.oldest_seconds for group in scene.core.groups(scene.now)] == [100.0]
        scene.group.replay([], scene.now)
        assert [group.oldest_seconds for group in scene.core.groups(scene.now)] == [110.0]


class TestDeadLetters:
    def test_long_texts_are_cut(self) -> None:
        scene = Scene()
        scene.put("1")
        (one,) = scene.take()
        scene.group.reject(one.token, "r" * 5_000, "e" * 5_000, scene.now, scene.wall)
        (letter,) = scene.core.dead_letters("g")
        assert (letter.reason, letter.error) == ("r" * 4096, "e" * 4096)

    def test_a_text_that_is_no_utf_8_is_kept_with_escapes(self) -> None:
        scene = Scene()
        scene.put("1")
        (one,) = scene.take()
        scene.group.reject(one.token, "é\ud800", "\udc80", scene.now, scene.wall)
        (letter,) = scene.core.dead_letters("g")
        assert (letter.reason, letter.error) == ("é\\ud800", "\\udc80")

    def test_a_replay_needs_the_log_no_longer(self) -> None:
        scene = Scene(TopicSettings("a", keep_seconds=10.0))
        scene.put("1")
        (one,) = scene.take()
        scene.group.reject(one.token, "no", "", scene.now, scene.wall)
        scene.now += 10.0
        scene.core.advance(scene.now)
        scene.group.replay([], scene.now)
        (one,) = scene.take()
        scene.again(one, 1.0)
        scene.now += 1.0
        assert [(one.body, one.delivery) for one in scene.take()] == [(b"1", 2)]

    def test_a_replay_of_a_message_that_a_seek_brings_back_comes_once(self) -> None:
        scene = Scene()
        scene.put("0", "1", "2")
        _, one, _ = scene.take()
        scene.group.reject(one.token, "no", "", scene.now, scene.wall)
        scene.core.seek("g", "oldest", scene.now, scene.wall)
        assert scene.group.replay([], scene.now) == 1
        assert scene.taken() == ["0", "1", "2"]

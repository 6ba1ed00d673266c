"""The work and the memory of the broker of this process: each is bounded."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from fastrpc.brokers.base import GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.base.names import TopicPattern
from fastrpc.brokers.local.log import Log
from fastrpc.brokers.local.records import GroupProgressed, Record
from tests.support.broker_scene import Scene


def compared_patterns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the patterns that are compared from now on, each as often as it is."""
    compared: list[str] = []

    def count(name: str) -> None:
        compare = getattr(TopicPattern, name)

        def counted(self: TopicPattern, other: Any) -> bool:
            compared.append(self.text)
            return bool(compare(self, other))

        monkeypatch.setattr(TopicPattern, name, counted)

    for name in ("matches", "overlaps", "is_below"):
        count(name)
    return compared


@pytest.mark.parametrize("patterns", [0, 3])
def test_a_name_is_compared_with_patterns_alone(monkeypatch: pytest.MonkeyPatch, patterns: int) -> None:
    scene = Scene()
    for number in range(patterns):
        scene.core.declare(TopicSettings(f"b{number}.*"), scene.now)
    compared = compared_patterns(monkeypatch)
    for number in range(100):
        name = f"c.{number}"
        scene.core.declare(TopicSettings(name), scene.now)
        scene.publish(OutgoingMessage(name, b""))
        scene.join(GroupSettings(None, name))
        assert scene.core.covering(name) == TopicSettings(name)
    # By the declaration alone: the topic that has the name itself is found first.
    assert len(compared) == 100 * patterns


def test_removed_messages_leave_no_numbers_behind() -> None:
    scene = Scene(TopicSettings("a", None, ("g",)))
    scene.put("stuck")
    (stuck,) = scene.take()
    for _ in range(1_000):
        scene.put("next")
        (one,) = scene.take()
        scene.group.settle(one.token, scene.now)
    assert len(scene.core.topics["a"].log._numbers) < 200
    scene.again(stuck, 0.0)
    assert scene.taken() == ["stuck"]


def test_delays_that_no_longer_count_leave_the_heaps() -> None:
    scene = Scene(TopicSettings("a", max_bytes=20_000))
    for number in range(1_000):
        scene.put("later", delay=10_000.0 - number)
        scene.take()
    assert len(scene.group._later) < 200
    assert len(scene.core._effects.alarms._heap) < 200


def test_a_nack_between_two_looks_forgets_no_delayed_message() -> None:
    scene = Scene(TopicSettings("a", max_bytes=3_400 * 810))
    scene.put(*["dropped"] * 1_000, delay=1_000.0)
    scene.put(*["delayed"] * 2_400, delay=10.0)
    assert scene.taken() == []
    scene.put(*["new"] * 1_000)
    scene.now += 10.0
    scene.core.advance(scene.now)
    found = scene.take(2_000)
    for one in found[1:]:
        scene.group.settle(one.token, scene.now)
    scene.again(found[0], 5.0)
    scene.now += 5.0
    scene.core.advance(scene.now)
    again = scene.taken(10_000)
    assert (again.count("delayed"), again.count("new")) == (401, 1_000)


def test_many_messages_that_are_due_at_once_are_looked_at_in_slices() -> None:
    scene = Scene(TopicSettings("a", keep_seconds=60.0))
    scene.put(*["later"] * 2_500, delay=10.0)
    assert scene.taken() == []
    for seconds in (10.0, 50.0):
        scene.now += seconds
        for _ in range(3):
            assert scene.core.next_due() == scene.now
            scene.core.advance(scene.now)
    assert scene.lag() == [0]


def test_a_group_of_a_pattern_counts_its_messages_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(TopicSettings("a.**"), settings=GroupSettings(None, "a.**"))
    for name in ("a.x", "a.y"):
        scene.publish(*(OutgoingMessage(name, b"") for _ in range(1_000)))
    seen: list[Record] = []
    newer = Log.newer

    def counted(self: Log, sequence: int) -> Iterator[Record]:
        for record in newer(sequence):
            seen.append(record)
            yield record

    monkeypatch.setattr(Log, "newer", counted)
    compared = compared_patterns(monkeypatch)
    for number in range(50):
        scene.join(GroupSettings(f"g{number}", "a.*", "oldest"))
    assert scene.lag() == [2_000] * 50
    # A group asks for two names, each once, and for the topic of its pattern.
    assert (seen, len(compared)) == ([], 50 * 3)


def test_a_group_that_begins_amid_the_log_compares_each_name_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(TopicSettings("a.**"), settings=GroupSettings("g", "a.x"))
    scene.publish(*(OutgoingMessage(f"a.{'xy'[number % 2]}", b"") for number in range(1_000)))
    compared = compared_patterns(monkeypatch)
    for place, lag in ((501, 250), ("oldest", 500), (2, 499)):
        scene.core.seek("g", place, scene.now, scene.wall)
        assert scene.lag() == [lag]
    assert len(scene.take(1_000)) == 499
    assert len(compared) <= 2


def test_a_take_with_a_long_backlog_of_other_names_finds_its_own() -> None:
    scene = Scene(TopicSettings("**"))
    names: Sequence[str] = ["b"] * 500 + ["a"]
    scene.publish(*(OutgoingMessage(name, name.encode()) for name in names))
    assert scene.taken() == ["a"]
    assert scene.lag() == [1]


def test_the_place_of_a_group_is_found_during_any_replay() -> None:
    scene = Scene()
    scene.put(*["dead"] * 1_000)
    for one in scene.take(1_000):
        scene.group.reject(one.token, "no", "", scene.now, scene.wall)
    assert scene.group.replay([], scene.now) == 1_000
    scene.put("new")
    scene.take(1_001)
    # Only messages of the log say how far the group is.
    assert list(scene.group.open) == [1_001]
    assert scene.lag() == [1_001]
    scene.core.note_progress()
    progress = scene.changes[-1]
    assert isinstance(progress, GroupProgressed)
    assert (progress.position, progress.passed) == (1_000, 1_001)

"""When lists are read again."""

import pytest

from fastrpc.registries.base.shared import PART_LISTS, Rereads
from fastrpc.testing import FakeClock

LONGEST_SECONDS = 5.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def rereads(clock: FakeClock) -> Rereads:
    return Rereads(LONGEST_SECONDS, clock)


def names(count: int) -> frozenset[str]:
    return frozenset(f"s{number}" for number in range(count))


def test_a_list_is_read_when_it_is_new_and_when_it_is_old(rereads: Rereads, clock: FakeClock) -> None:
    assert rereads.next() == float("inf")
    rereads.follow(frozenset({"a"}))
    assert rereads.take() == ["a"]
    assert rereads.take() == []
    assert rereads.next() == clock() + LONGEST_SECONDS
    clock.advance(LONGEST_SECONDS)
    assert rereads.take() == ["a"]


def test_a_hurried_list_is_read_at_once_and_alone(rereads: Rereads) -> None:
    rereads.follow(frozenset({"a", "b"}))
    rereads.take()
    rereads.hurry("b")
    rereads.hurry("unknown")
    assert rereads.take() == ["b"]


def test_lists_that_come_and_go_do_not_affect_other_lists(rereads: Rereads) -> None:
    rereads.follow(frozenset({"a", "b"}))
    rereads.take()
    rereads.follow(frozenset({"b", "c"}))
    assert rereads.take() == ["c"]


def test_old_lists_are_read_part_by_part(rereads: Rereads, clock: FakeClock) -> None:
    parts = 10
    rereads.follow(names(parts * PART_LISTS))
    assert {*rereads.take()} == names(parts * PART_LISTS)
    begun, found = clock(), []
    for number in range(2 * parts):
        # The clock counts nanoseconds.
        clock.advance(rereads.next() - clock() + 1e-6)
        assert clock() - begun == pytest.approx(LONGEST_SECONDS * (number + 1) / parts, abs=0.001)
        part = rereads.take()
        assert len(part) == PART_LISTS
        found += part
    assert {*found[: len(found) // 2]} == {*found[len(found) // 2 :]} == names(parts * PART_LISTS)


def test_lists_that_fill_no_whole_parts_are_read_as_often_as_others(
    rereads: Rereads, clock: FakeClock
) -> None:
    rounds = 10
    followed = names(PART_LISTS + 1)
    rereads.follow(followed)
    rereads.take()
    begun, found = clock(), 0
    while clock() - begun < rounds * LONGEST_SECONDS:
        clock.advance(rereads.next() - clock() + 1e-6)
        found += len(rereads.take())
    # Two parts; one of them has one more list than is old.
    assert found <= (rounds + 1) * 2 * (PART_LISTS // 2 + 1)


def test_messages_keep_no_old_list_from_being_read(rereads: Rereads, clock: FakeClock) -> None:
    rereads.follow(frozenset({"a", "b"}))
    rereads.take()
    clock.advance(LONGEST_SECONDS)
    rereads.hurry("a")
    assert sorted(rereads.take()) == ["a", "b"]

"""Calls in progress by key, under one limit."""

import pytest

from fastrpc._core.limiting.concurrency_limiter import ConcurrencyLimiter

MILLISECOND = 1_000_000


def test_a_key_gets_as_many_places_as_the_limit_says() -> None:
    limiter = ConcurrencyLimiter(2)
    first, second = limiter.try_enter(b"a"), limiter.try_enter(b"a")
    assert first is not None
    assert first == second
    assert limiter.try_enter(b"a") is None
    assert limiter.try_enter(b"b") is not None
    limiter.note_left(first, 5)
    assert limiter.try_enter(b"a") == first


def test_last_quarter_of_the_limit_is_not_for_calls_that_may_be_shed() -> None:
    limiter = ConcurrencyLimiter(8)
    assert [limiter.try_enter(b"a", is_sheddable=True) is not None for _ in range(8)].count(True) == 6
    assert [limiter.try_enter(b"a") is not None for _ in range(3)] == [True, True, False]
    assert ConcurrencyLimiter(1).try_enter(b"a", is_sheddable=True) is not None


def test_keys_without_calls_make_room_for_others() -> None:
    limiter = ConcurrencyLimiter(1)
    for number in range(30_000):
        place = limiter.try_enter(b"key %d" % number)
        assert place is not None
        limiter.note_left(place, 5)
    assert limiter.table.taken <= 10_000


def test_a_new_key_beside_ten_thousand_busy_ones_shares_one_count() -> None:
    limiter = ConcurrencyLimiter(1)
    places = [limiter.try_enter(b"key %d" % number) for number in range(10_000)]
    assert None not in places
    assert limiter.try_enter(b"new") is not None
    assert limiter.try_enter(b"newer") is None
    assert places[7] is not None
    limiter.note_left(places[7], 5)
    assert limiter.try_enter(b"newest") is not None


def test_pause_is_the_mean_time_of_calls_within_bounds() -> None:
    limiter = ConcurrencyLimiter(1)
    assert limiter.pause_ns == 100 * MILLISECOND
    for held_ms in (40, 40, 40, 80):
        place = limiter.try_enter(b"a")
        assert place is not None
        limiter.note_left(place, held_ms * MILLISECOND)
    assert limiter.pause_ns == 45 * MILLISECOND
    for _ in range(200):
        place = limiter.try_enter(b"a")
        assert place is not None
        limiter.note_left(place, 1)
    assert limiter.pause_ns == MILLISECOND


def test_a_call_that_never_started_says_nothing_about_the_time() -> None:
    limiter = ConcurrencyLimiter(1)
    place = limiter.try_enter(b"a")
    assert place is not None
    limiter.note_left(place, 0)
    assert limiter.mean_ns == 0


def test_a_place_that_no_call_holds_cannot_be_left() -> None:
    limiter = ConcurrencyLimiter(1)
    for place in (0, -1, 40_000):
        with pytest.raises(ValueError, match="no call holds place"):
            limiter.note_left(place, 1)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit is 0"):
        ConcurrencyLimiter(0)

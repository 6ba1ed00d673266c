"""Limits by key, in memory that processes share."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.limiting.limiters import AdaptiveLimit, ConcurrencyLimiter, KeyTable, RateLimiter
from tests.support.forking import fork

MOST = 10_000
#: Above the idle limit of the tests.
SPENT = 100


def names(count: int, start: int = 0) -> list[bytes]:
    return [b"key %d" % number for number in range(start, start + count)]


def filled(table: KeyTable, count: int = MOST) -> dict[bytes, int | None]:
    """Give each of the given number of names a spent word; return their places."""
    places = {}
    for name in names(count):
        places[name] = table.place_of(name)
        table.set_word(places[name], SPENT)
    return places


def test_ten_thousand_keys_have_separate_words() -> None:
    table = KeyTable()
    places = filled(table)
    assert None not in places.values()
    assert len(set(places.values())) == table.taken == MOST
    assert {name: table.place_of(name) for name in places} == places


def test_a_new_key_at_a_full_table_shares_the_overflow() -> None:
    table = KeyTable()
    places = filled(table)
    assert {table.place_of(name) for name in names(1_000, start=MOST)} == {None}
    assert {name: table.place_of(name) for name in places} == places


def test_a_million_new_keys_take_no_spent_place() -> None:
    table = KeyTable()
    places = filled(table)
    assert all(table.place_of(name) is None for name in names(1_000_000, start=MOST))
    assert {name: table.place_of(name) for name in places} == places
    assert table.taken == MOST


def test_a_single_idle_place_of_a_full_table_goes_to_the_next_new_key() -> None:
    table = KeyTable()
    places = filled(table)
    table.set_word(places[b"key 77"], SPENT // 2)
    assert table.place_of(b"refused") is None
    assert table.place_of(b"new", SPENT // 2) is not None
    assert table.place_of(b"newer", SPENT // 2) is None
    assert table.place_of(b"key 77", SPENT // 2) is None
    assert {name: table.place_of(name) for name in places if name != b"key 77"} == {
        name: place for name, place in places.items() if name != b"key 77"
    }


def test_idle_keys_make_room_for_as_many_new_ones() -> None:
    table = KeyTable()
    filled(table)
    others = {table.place_of(name, SPENT) for name in names(MOST, start=MOST)}
    assert None not in others
    assert table.taken <= MOST


def test_a_forked_process_shares_words_and_keys() -> None:
    table = KeyTable()
    ours = table.place_of(b"ours")
    reader, writer = os.pipe()
    process = fork()
    if process == 0:
        theirs = table.place_of(b"theirs")
        table.set_word(theirs, SPENT)
        os.write(writer, f"{theirs} {table.place_of(b'ours') == ours}".encode())
        os._exit(0)
    os.waitpid(process, 0)
    told = os.read(reader, 100).decode().split()
    os.close(reader)
    os.close(writer)
    assert told == [str(table.place_of(b"theirs")), "True"]
    assert table.taken == 2


@pytest.mark.parametrize("place", [-1, 32_769])
def test_there_are_no_words_beyond_the_places(place: int) -> None:
    with pytest.raises(IndexError):
        KeyTable().set_word(place, 1)


def test_names_are_bytes() -> None:
    with pytest.raises(TypeError):
        KeyTable().place_of("text")  # type: ignore[arg-type]


SECOND = 1_000_000_000
START = 7 * SECOND
WINDOW = SECOND // 10


class Machine:
    """A server that works on the given number of calls at once, each for 10 ms; more of them wait for each other."""

    def __init__(self, width: int, *, initial: int = 20, floor: int = 4, ceiling: int = 1_000) -> None:
        self.limit = AdaptiveLimit(initial, floor, ceiling)
        self.width = width
        self.now = START

    def run(self, seconds: float, offered: float = math.inf, late: float = 0.0) -> list[int]:
        """Run under a load of the given number of calls at once; return the limit at the end of each window."""
        limits = []
        for _ in range(round(seconds * 10)):
            calls = max(1, int(min(offered, self.limit.allowed)))
            held = int(10_000_000 * max(1.0, calls / self.width))
            for index in range(20):
                self.limit.note_call(self.now, held, is_late=index < late * 20, calls=calls)
            self.now += WINDOW
            self.limit.note_call(self.now, held, calls=calls)
            limits.append(self.limit.allowed)
        return limits


def test_limit_rises_to_the_load_that_the_server_handles_well_and_stays_there() -> None:
    limits = Machine(100).run(30)
    assert 100 <= limits[-1] <= 250
    assert max(limits) <= 250


def test_limit_falls_when_the_server_gets_slower() -> None:
    machine = Machine(200)
    machine.run(20)
    before = machine.limit.allowed
    machine.width = 20
    machine.run(5)
    assert machine.limit.allowed < before / 2


def test_limit_does_not_creep_upwards_under_a_load_that_never_ends() -> None:
    limits = Machine(50).run(120)
    assert max(limits[600:]) <= 1.3 * max(limits[:300])
    assert sum(limits[600:]) / 600 >= 40


def test_limit_that_is_not_used_does_not_grow() -> None:
    assert Machine(100).run(20, offered=3)[-1] <= 20


def test_missed_deadlines_lower_the_limit_to_its_floor() -> None:
    machine = Machine(1_000, initial=500)
    limits = machine.run(3, late=1.0)
    assert limits[-1] == 4
    assert limits == sorted(limits, reverse=True)
    # And it comes back.
    assert machine.run(20)[-1] > 100


def test_a_single_missed_deadline_costs_little() -> None:
    machine = Machine(1_000, initial=500)
    machine.run(0.1, late=0.05)
    assert machine.limit.allowed >= 480


def test_limit_keeps_its_bounds() -> None:
    assert max(Machine(1_000, ceiling=64).run(20)) == 64
    assert min(Machine(100, floor=8).run(5, late=1.0)) == 8


def test_calls_whose_time_says_nothing_change_nothing() -> None:
    limit = AdaptiveLimit(20, 4, 1_000)
    for window in range(50):
        limit.note_call(START + window * WINDOW, 0, calls=20)
    assert limit.allowed == 20


@pytest.mark.parametrize(("initial", "floor", "ceiling"), [(3, 4, 10), (11, 4, 10), (0, 0, 10)])
def test_numbers_out_of_their_order_are_refused(initial: int, floor: int, ceiling: int) -> None:
    with pytest.raises(ValueError, match="1 <= floor <= initial <= ceiling is required"):
        AdaptiveLimit(initial, floor, ceiling)


class Model:
    """A bucket as it is explained: tokens that come with time, up to a burst."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self.tokens, self.at = float(burst), START

    def take(self, now: int) -> float:
        self.tokens = min(self.burst, self.tokens + (now - self.at) / SECOND * self.rate)
        self.at = now
        if self.tokens >= 1 - 1e-6:
            self.tokens -= 1
            return 0
        return (1 - self.tokens) / self.rate * SECOND


@given(
    st.sampled_from([0.5, 1.0, 7.0, 1_000.0, 250_000.0]),
    st.integers(1, 50),
    st.lists(st.floats(0, 3), max_size=100),
)
def test_bucket_equals_its_model(rate: float, burst: int, gaps: list[float]) -> None:
    limiter, model, now = RateLimiter(rate, burst, now=START), Model(rate, burst), START
    for gap in gaps:
        now += int(gap / rate * SECOND)
        wanted = model.take(now)
        found = limiter.try_take(b"a", now)
        assert (found == 0) == (wanted == 0)
        assert math.isclose(found, wanted, rel_tol=1e-3, abs_tol=1e-5 / rate * SECOND + 2)


@pytest.mark.parametrize("rate", [3, 1_000, 333_333, 10_000_000])
def test_rate_is_kept_within_a_tenth_of_a_percent(rate: int) -> None:
    limiter = RateLimiter(rate, 1, now=START)
    now, taken = START, 0
    while taken < 2_000:
        now += max(1, limiter.try_take(b"a", now))
        taken += limiter.try_take(b"a", now) == 0
    assert math.isclose(taken / ((now - START) / SECOND), rate, rel_tol=0.001)


def test_refused_caller_finds_a_token_after_the_stated_pause() -> None:
    limiter = RateLimiter(3, 2, now=START)
    assert [limiter.try_take(b"a", START) for _ in range(2)] == [0, 0]
    wait = limiter.try_take(b"a", START)
    assert wait == math.ceil(SECOND / 3)
    assert limiter.try_take(b"a", START + wait - 1) > 0
    assert limiter.try_take(b"a", START + wait) == 0


def test_keys_have_separate_buckets() -> None:
    limiter = RateLimiter(1, 1, now=START)
    assert [limiter.try_take(name, START) for name in (b"a", b"b", b"c")] == [0, 0, 0]
    assert limiter.try_take(b"b", START) == SECOND


def test_returned_token_can_be_taken_again() -> None:
    limiter = RateLimiter(1, 1, now=START)
    assert limiter.try_take(b"a", START) == 0
    limiter.return_token()
    assert limiter.try_take(b"a", START) == 0
    assert limiter.try_take(b"a", START) > 0


def test_last_quarter_of_a_bucket_is_not_for_calls_that_may_be_shed() -> None:
    limiter = RateLimiter(1, 8, now=START)
    passed = [limiter.try_take(b"a", START, is_sheddable=True) == 0 for _ in range(8)]
    assert passed == [True] * 6 + [False] * 2
    assert [limiter.try_take(b"a", START) == 0 for _ in range(3)] == [True, True, False]
    # A bucket of less than four tokens has no such part.
    assert RateLimiter(1, 1, now=START).try_take(b"a", START, is_sheddable=True) == 0


def test_clock_before_the_start_counts_as_the_start() -> None:
    limiter = RateLimiter(1, 1, now=START)
    assert limiter.try_take(b"a", START - SECOND) == 0
    assert limiter.try_take(b"a", START - SECOND) == SECOND


def test_a_million_fresh_keys_leave_spent_buckets_spent() -> None:
    limiter = RateLimiter(0.001, 1, now=START)
    spent = [b"spent %d" % number for number in range(9_000)]
    assert {limiter.try_take(name, START) for name in spent} == {0}
    passed = sum(limiter.try_take(b"fresh %d" % number, START) == 0 for number in range(1_000_000))
    # The free places of the table, and one bucket for all other keys.
    assert passed == 1_001
    assert all(limiter.try_take(name, START) > 0 for name in spent)


def test_forked_processes_take_from_one_bucket() -> None:
    limiter = RateLimiter(0.001, 1_000, now=START)
    processes = []
    for _ in range(4):
        process = fork()
        if process == 0:
            for _ in range(150):
                limiter.try_take(b"a", START)
            os._exit(0)
        processes.append(process)
    for process in processes:
        os.waitpid(process, 0)
    assert sum(limiter.try_take(b"a", START) == 0 for _ in range(1_000)) == 1_000 - 4 * 150


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (2e9, 1), (1, 0), (1e-8, 10), (math.nan, 1)])
def test_numbers_out_of_range_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="rate is"):
        RateLimiter(rate, burst)


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


def test_keys_without_calls_make_room_for_new_keys() -> None:
    limiter = ConcurrencyLimiter(1)
    for number in range(30_000):
        place = limiter.try_enter(b"key %d" % number)
        assert place is not None
        limiter.note_left(place, 5)
    assert limiter.table.taken <= 10_000


def test_a_new_key_next_to_ten_thousand_busy_ones_shares_a_count() -> None:
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

"""Token buckets, compared with the arithmetic that they stand for."""

import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.limiting.rate_limiter import RateLimiter
from tests.support.forking import fork

SECOND = 1_000_000_000
START = 5 * SECOND


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


def test_refused_caller_finds_a_token_when_it_was_told() -> None:
    limiter = RateLimiter(3, 2, now=START)
    assert [limiter.try_take(b"a", START) for _ in range(2)] == [0, 0]
    wait = limiter.try_take(b"a", START)
    assert wait == math.ceil(SECOND / 3)
    assert limiter.try_take(b"a", START + wait - 1) > 0
    assert limiter.try_take(b"a", START + wait) == 0


def test_keys_have_buckets_of_their_own() -> None:
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


def test_clock_behind_the_start_counts_as_the_start() -> None:
    limiter = RateLimiter(1, 1, now=START)
    assert limiter.try_take(b"a", START - SECOND) == 0
    assert limiter.try_take(b"a", START - SECOND) == SECOND


def test_a_million_fresh_keys_leave_spent_buckets_spent() -> None:
    limiter = RateLimiter(0.001, 1, now=START)
    spent = [b"spent %d" % number for number in range(9_000)]
    assert {limiter.try_take(name, START) for name in spent} == {0}
    passed = sum(limiter.try_take(b"fresh %d" % number, START) == 0 for number in range(1_000_000))
    # The rest of the table, and one bucket for all others.
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

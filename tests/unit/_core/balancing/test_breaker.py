"""The bounds of attempts after faults: breaker and retry budget."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.balancing.breaker import EndpointBreaker, RetryBudget
from fastrpc.config import Breaker as Settings

#: Milliseconds since the last step, and the next event: a call, or the wish to retry.
steps = st.lists(st.tuples(st.sampled_from([0, 1, 10, 50, 100, 400, 3_000]), st.booleans()), max_size=120)


@given(steps, st.sampled_from([0.0, 0.2, 1.0]), st.sampled_from([0.0, 2.0, 10.0]))
def test_budget_equals_its_model(steps: list[tuple[int, bool]], share: float, per_second: float) -> None:
    now_ms = 1_000_000
    budget = RetryBudget(share, per_second, clock=lambda: now_ms / 1_000)
    calls: list[int] = []
    retries: list[int] = []
    for passed_ms, is_call in steps:
        now_ms += passed_ms
        slot = now_ms // 100
        if is_call:
            budget.note_call()
            calls.append(slot)
        recent_calls = sum(each > slot - 10 for each in calls)
        recent_retries = sum(each > slot - 10 for each in retries)
        if not is_call:
            allowed = recent_retries + 1 <= share * recent_calls + per_second
            assert budget.has_room is allowed
            assert budget.take() is allowed
            if allowed:
                retries.append(slot)
                recent_retries += 1
        assert (budget.calls, budget.retries) == (recent_calls, recent_retries)


def test_failing_server_gets_a_fifth_more_and_no_burst() -> None:
    now = 100.0
    budget = RetryBudget(clock=lambda: now)
    calls = retries = 0
    for millisecond in range(30_000):
        now = 100 + millisecond / 1_000
        budget.note_call()
        if millisecond < 10_000:
            continue  # Ten good seconds, in which nothing is saved up.
        calls += 1
        retries += sum(budget.take() for _ in range(3))
    assert retries <= 0.2 * calls + 10 * 20 + 0.2 * 1_000 + 10
    assert calls + retries <= 1.25 * calls


@pytest.mark.parametrize(("share", "per_second"), [(-0.1, 1), (0.1, -1), (1e9, 1)])
def test_wrong_settings_are_refused(share: float, per_second: float) -> None:
    with pytest.raises(ValueError, match="share is"):
        RetryBudget(share, per_second)


def test_clock_that_steps_back_changes_nothing() -> None:
    now = 100.0
    budget = RetryBudget(0, 1, clock=lambda: now)
    assert budget.take()
    now = 50.0
    assert not budget.take()


def opened(settings: Settings, *, now: float = 0.0) -> EndpointBreaker:
    """Return a breaker that faults in a row have opened."""
    breaker = EndpointBreaker(settings)
    assert settings.consecutive is not None
    for _ in range(settings.consecutive):
        breaker.record(breaker.acquire(now), True, now)
    assert breaker.state == "open"
    return breaker


def test_faults_in_a_row_open_it() -> None:
    breaker = EndpointBreaker(Settings(consecutive=3))
    for is_fault in (True, True, False, True, True):
        breaker.record(breaker.acquire(0.0), is_fault, 0.0)
    assert breaker.state == "closed"
    breaker.record(breaker.acquire(0.0), True, 0.0)
    assert breaker.state == "open"
    assert breaker.acquire(0.0) == 0


def test_rate_of_faults_opens_it() -> None:
    breaker = EndpointBreaker(Settings(consecutive=None, fault_rate=0.5, minimum_calls=10))
    for number in range(9):
        breaker.record(breaker.acquire(0.0), number % 2 == 0, 0.0)
    assert breaker.state == "closed"
    breaker.record(breaker.acquire(0.0), True, 0.0)
    assert breaker.state == "open"


def test_faults_outside_the_window_are_forgotten() -> None:
    breaker = EndpointBreaker(Settings(consecutive=None, fault_rate=0.5, minimum_calls=4, window=10))
    for _ in range(3):
        breaker.record(breaker.acquire(0.0), True, 0.0)
    breaker.record(breaker.acquire(10.0), True, 10.0)
    assert breaker.state == "closed"


def test_probe_is_admitted_after_the_open_time() -> None:
    breaker = opened(Settings(open_seconds=2))
    assert breaker.acquire(1.9) == 0
    assert breaker.opens_in(1.5) == 0.5
    assert breaker.acquire(2.0)
    assert breaker.state == "half_open"
    assert breaker.acquire(2.0) == 0


def test_success_of_all_probes_closes_it() -> None:
    breaker = opened(Settings(probes=2))
    probes = [breaker.acquire(1.0), breaker.acquire(1.0)]
    breaker.record(probes[0], False, 1.0)
    assert breaker.state == "half_open"
    breaker.record(probes[1], False, 1.0)
    assert breaker.state == "closed"


def test_failed_probe_opens_it_for_twice_as_long() -> None:
    breaker = opened(Settings(open_seconds=1, longest_open=3))
    now = 0.0
    for seconds in (1.0, 2.0, 3.0, 3.0):
        assert breaker.opens_in(now) == pytest.approx(seconds)
        now += seconds
        breaker.record(breaker.acquire(now), True, now)
    assert breaker.state == "open"


@pytest.mark.parametrize("probes", [1, 7])
def test_exactly_the_allowed_probes_pass_with_a_thousand_callers(probes: int) -> None:
    breaker = opened(Settings(probes=probes))
    passed: list[int] = []
    start = threading.Barrier(10)

    def call() -> None:
        start.wait()
        for _ in range(100):
            if ticket := breaker.acquire(1.0):
                passed.append(ticket)

    threads = [threading.Thread(target=call) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == probes


def test_probe_that_was_abandoned_makes_room_for_another() -> None:
    breaker = opened(Settings())
    breaker.release(breaker.acquire(1.0))
    assert breaker.acquire(1.0)


def test_late_end_of_an_earlier_call_decides_nothing() -> None:
    breaker = EndpointBreaker(Settings(consecutive=1))
    early = breaker.acquire(0.0)
    breaker.record(breaker.acquire(0.0), True, 0.0)
    probe = breaker.acquire(1.0)
    breaker.record(early, False, 1.0)
    assert breaker.state == "half_open"
    breaker.record(probe, False, 1.0)
    breaker.record(early, True, 1.0)
    assert breaker.state == "closed"


def test_rules_can_be_left_out() -> None:
    breaker = EndpointBreaker(Settings(consecutive=None, fault_rate=None))
    for _ in range(100):
        breaker.record(breaker.acquire(0.0), True, 0.0)
    assert breaker.state == "closed"

"""The retry budget: never more than a share of the calls of the last second, and a few more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.balancing.retry_budget import RetryBudget

#: Milliseconds since the last step, and what happens then: a call, or the wish to retry.
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

"""When a list is believed."""

import math

import pytest

from fastrpc import Endpoint
from fastrpc.registries.base.rules import (
    CONFIRM_SECONDS,
    LEAST_LOOK_SECONDS,
    LOOK_SECONDS,
    SETTLE_SECONDS,
    SILENT_SECONDS,
    ListRules,
)

MANY = tuple(Endpoint(f"tcp://10.0.0.1:{port}") for port in range(1, 9))


def believed(endpoints: tuple[Endpoint, ...] = MANY) -> ListRules:
    rules = ListRules()
    rules.decide(endpoints, 0.0)
    return rules


def test_first_list_is_believed_at_once() -> None:
    decision = ListRules().decide(MANY[:1], 0.0)
    assert (decision.endpoints, decision.look_again) == (MANY[:1], None)


def test_first_list_that_is_empty_is_believed_at_the_second_look_only() -> None:
    rules = ListRules()
    first = rules.decide((), 1.0)
    assert first.endpoints is None
    assert first.look_again == pytest.approx(CONFIRM_SECONDS)
    second = rules.decide((), 1.0 + CONFIRM_SECONDS)
    assert (second.endpoints, second.look_again) == ((), None)


def test_list_after_an_empty_first_one_takes_effect_at_once() -> None:
    rules = ListRules()
    rules.decide((), 1.0)
    decision = rules.decide(MANY, 1.1)
    assert (decision.endpoints, decision.look_again) == (MANY, None)


def test_growing_list_is_believed_at_once() -> None:
    assert believed(MANY[:2]).decide(MANY, 1.0).endpoints == MANY


def test_one_of_two_is_missed_at_the_second_look_only() -> None:
    rules = believed(MANY[:2])
    assert rules.decide(MANY[:1], 1.0).endpoints == MANY[:2]
    assert rules.decide(MANY[:1], 1.0 + CONFIRM_SECONDS).endpoints == MANY[:1]


def test_less_than_half_may_leave_at_once() -> None:
    assert believed().decide(MANY[:5], 1.0).endpoints == MANY[:5]


def test_empty_list_is_believed_at_the_second_look_only() -> None:
    rules = believed(MANY[:1])
    first = rules.decide((), 1.0)
    assert first.endpoints == MANY[:1]
    assert first.look_again == pytest.approx(CONFIRM_SECONDS)
    second = rules.decide((), 1.0 + CONFIRM_SECONDS)
    assert (second.endpoints, second.look_again) == ((), None)


def test_halved_list_is_believed_at_the_second_look_only() -> None:
    rules = believed()
    assert rules.decide(MANY[:4], 1.0).endpoints == MANY
    assert rules.decide(MANY[:4], 1.0 + CONFIRM_SECONDS).endpoints == MANY[:4]


def test_list_of_new_endpoints_joins_the_old_list_until_it_is_confirmed() -> None:
    rules = believed(MANY[:4])
    assert rules.decide(MANY[4:], 1.0).endpoints == MANY
    assert rules.decide(MANY[4:], 1.0 + CONFIRM_SECONDS).endpoints == MANY[4:]


def test_second_look_that_comes_early_is_not_the_second_look() -> None:
    rules = believed()
    rules.decide((), 1.0)
    early = rules.decide((), 1.0 + CONFIRM_SECONDS / 4)
    assert early.endpoints == MANY
    assert early.look_again is not None
    assert 0 < early.look_again < CONFIRM_SECONDS


def test_doubt_ends_when_the_list_is_whole_again() -> None:
    rules = believed()
    rules.decide((), 1.0)
    assert rules.decide(MANY, 1.1).look_again is None
    assert rules.decide((), 5.0).endpoints == MANY


def test_nothing_is_removed_for_a_while_after_a_failure() -> None:
    rules = believed()
    rules.note_failure()
    back = rules.decide((), 100.0)
    assert back.endpoints == MANY
    assert back.look_again == LOOK_SECONDS
    assert rules.decide(MANY[:1], 100.0 + SETTLE_SECONDS - 1).endpoints == MANY


def test_new_endpoints_after_a_failure_are_used_at_once() -> None:
    rules = believed(MANY[:2])
    rules.note_failure()
    heavier = Endpoint(MANY[0].address, weight=9)
    found = rules.decide((heavier, MANY[2]), 100.0).endpoints
    assert found == (heavier, MANY[1], MANY[2])


def test_endpoints_that_do_not_return_in_time_are_removed() -> None:
    rules = believed()
    rules.note_failure()
    for second in range(int(SETTLE_SECONDS)):
        assert rules.decide(MANY[:5], 100.0 + second).endpoints == MANY
    assert rules.decide(MANY[:5], 100.0 + SETTLE_SECONDS).endpoints == MANY[:5]


def test_empty_list_after_a_failure_is_confirmed_as_well() -> None:
    rules = believed()
    rules.note_failure()
    rules.decide(MANY, 100.0)
    settled = 100.0 + SETTLE_SECONDS
    rules.decide((), settled - 1)
    assert rules.decide((), settled).endpoints == MANY
    assert rules.decide((), settled + CONFIRM_SECONDS).endpoints == ()


def test_each_failure_keeps_the_endpoints_that_answers_lack_since() -> None:
    rules = believed()
    for now in (100.0, 100.0 + SETTLE_SECONDS - 1):
        rules.note_failure()
        rules.decide(MANY[:5], now)
    assert rules.decide(MANY[:5], 100.0 + SETTLE_SECONDS + 1).endpoints == MANY


def absent(rules: ListRules, begin: float, seconds: int) -> tuple[Endpoint, ...] | None:
    """Answer every second without the last endpoint; return the last decision."""
    for second in range(seconds + 1):
        found = rules.decide(MANY[:-1], begin + second).endpoints
    return found


def test_an_endpoint_that_answers_between_outages_lack_for_long_enough_is_removed() -> None:
    rules = believed()
    for begin in (100.0, 110.0, 120.0):
        rules.note_failure()
        assert absent(rules, begin, 3) == MANY
    rules.note_failure()
    assert absent(rules, 130.0, 1) == MANY[:-1]


def test_no_second_of_an_outage_counts_against_an_endpoint() -> None:
    rules = believed()
    for begin in range(100, 1_000, 50):
        rules.note_failure()
        # One answer, after which the registry may have been away at once.
        assert absent(rules, float(begin), 0) == MANY


def test_an_endpoint_that_comes_back_is_counted_again() -> None:
    rules = believed()
    for begin in (100.0, 110.0, 120.0):
        rules.note_failure()
        assert absent(rules, begin, 6) == MANY
        assert rules.decide(MANY, begin + 7).endpoints == MANY


def test_a_restart_counts_all_endpoints_again() -> None:
    rules = believed()
    for begin in (100.0, 110.0, 120.0):
        rules.note_restart()
        assert absent(rules, begin, 6) == MANY
    rules.note_failure()
    assert absent(rules, 130.0, 4) == MANY[:-1]


def test_each_endpoint_is_counted_by_itself() -> None:
    rules = believed()
    rules.note_failure()
    assert absent(rules, 100.0, 6) == MANY
    rules.note_failure()
    for second in range(5):
        left = rules.decide(MANY[:-2], 110.0 + second).endpoints
    assert left == MANY[:-1]


def test_a_list_without_anybody_empties_nobody_until_each_is_counted_out() -> None:
    rules = believed()
    for begin in (100.0, 110.0):
        rules.note_failure()
        for second in range(5):
            assert rules.decide((), begin + second).endpoints == MANY
    rules.note_failure()
    for second in range(2):
        assert rules.decide((), 120.0 + second).endpoints == MANY
    assert rules.decide((), 122.0).endpoints == ()


def test_a_silence_between_two_answers_is_an_outage_while_looks_are_due() -> None:
    rules = believed()
    rules.note_failure()
    assert absent(rules, 100.0, 3) == MANY
    # The registry stood still, and so did the servers that register again.
    assert absent(rules, 103.0 + SILENT_SECONDS + 0.1, 5) == MANY
    assert absent(rules, 118.0, 1) == MANY[:-1]


@pytest.mark.parametrize("seconds", [SILENT_SECONDS + 1, 100.0])
@pytest.mark.parametrize("left", [0, 5, 7])
def test_endpoints_that_a_slow_registry_lacks_all_the_time_are_removed(left: int, seconds: float) -> None:
    rules = believed()
    rules.note_failure()
    answers = int(SETTLE_SECONDS / LOOK_SECONDS)
    for answer in range(answers):
        assert rules.decide(MANY[:left], 100.0 + answer * seconds).endpoints == MANY
    assert rules.decide(MANY[:left], 100.0 + answers * seconds).endpoints == MANY[:left]


def test_a_silence_without_due_looks_is_ignored() -> None:
    rules = believed()
    rules.note_failure()
    rules.decide(MANY, 100.0)
    assert absent(rules, 100.0 + 2 * SETTLE_SECONDS, 0) == MANY[:-1]


def test_looks_come_before_the_remaining_seconds_end() -> None:
    rules = believed()
    rules.note_failure()
    absent(rules, 100.0, int(SETTLE_SECONDS) - 1)
    decision = rules.decide(MANY[:-1], 100.0 + SETTLE_SECONDS - LOOK_SECONDS / 4)
    assert decision.look_again == pytest.approx(LOOK_SECONDS / 4)


def test_looks_are_at_least_one_tick_of_the_clock_apart() -> None:
    rules = believed()
    rules.note_failure()
    absent(rules, 0.0, int(SETTLE_SECONDS) - 1)
    # Less than a tick of the clock remains of the whole.
    decision = rules.decide(MANY[:-1], math.nextafter(SETTLE_SECONDS, 0.0))
    assert decision.look_again == LEAST_LOOK_SECONDS


def test_changed_weights_are_no_loss() -> None:
    heavier = tuple(Endpoint(one.address, weight=2) for one in MANY)
    assert believed().decide(heavier, 1.0).endpoints == heavier


def test_registry_that_fails_all_the_time_adds_no_more_than_a_list_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastrpc.registries.base.rules.MOST_ENDPOINTS", 10)
    rules = believed(MANY[:1])
    for port in range(100, 140):
        rules.note_failure()
        fresh = tuple(Endpoint(f"tcp://10.0.0.1:{port + step}") for step in range(4))
        decision = rules.decide(fresh, float(port))
        assert decision.endpoints is not None
        assert set(fresh) <= set(decision.endpoints)
        assert len(decision.endpoints) <= 10

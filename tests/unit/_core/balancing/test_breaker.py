"""The breaker: when it opens, whom it lets through, when it closes."""

import threading

import pytest

from fastrpc._core.balancing.breaker import EndpointBreaker
from fastrpc.config import Breaker as Settings


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


def test_probe_that_was_given_up_makes_room_for_another() -> None:
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

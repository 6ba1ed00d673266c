"""Ejection of endpoints: of which, and for how long; the effect of probes on an endpoint."""

import pytest

from fastrpc._core.balancing.endpoint_health import EndpointHealth, OutlierDetector
from fastrpc.config import Outlier


def endpoint_set(*results: tuple[int, int, float]) -> list[EndpointHealth]:
    """Return endpoints after so many good attempts, so many faults, of so many seconds each."""
    endpoints = []
    for good, faults, seconds in results:
        health = EndpointHealth()
        for number in range(good + faults):
            health.record(number >= good, seconds)
        endpoints.append(health)
    return endpoints


def ejected(endpoints: list[EndpointHealth], settings: Outlier, now: float = 100.0) -> list[int]:
    OutlierDetector(settings).sweep(endpoints, now)
    return [index for index, health in enumerate(endpoints) if health.is_ejected]


def test_endpoint_that_fails_more_than_the_fleet_is_out_in_one_sweep() -> None:
    endpoints = endpoint_set((100, 0, 0.01), (100, 1, 0.01), (60, 40, 0.01), (100, 0, 0.01))
    assert ejected(endpoints, Outlier()) == [2]


def test_erring_and_slow_endpoints_are_out_in_one_sweep() -> None:
    endpoints = endpoint_set((100, 0, 0.01), (100, 0, 0.012), (0, 100, 0.01), (100, 0, 0.2), (100, 0, 0.008))
    assert ejected(endpoints, Outlier()) == [2, 3]


def test_endpoint_that_is_slower_only_in_microseconds_stays() -> None:
    assert ejected(endpoint_set((100, 0, 0.0001), (100, 0, 0.0001), (100, 0, 0.005)), Outlier()) == []


def test_endpoints_with_equal_failure_rates_stay() -> None:
    assert ejected(endpoint_set((50, 50, 0.01), (55, 45, 0.01), (45, 55, 0.01)), Outlier()) == []


def test_endpoint_with_few_attempts_is_not_compared() -> None:
    assert ejected(endpoint_set((100, 0, 0.01), (100, 0, 0.01), (0, 19, 0.01)), Outlier()) == []


def test_single_endpoint_is_not_compared() -> None:
    assert ejected(endpoint_set((0, 100, 0.01)), Outlier()) == []


def test_rules_can_be_left_out() -> None:
    results = ((100, 0, 0.01), (100, 0, 0.01), (0, 100, 0.01), (100, 0, 1.0))
    assert ejected(endpoint_set(*results), Outlier(success_gap=None)) == [3]
    assert ejected(endpoint_set(*results), Outlier(slow_factor=None)) == [2]


def test_each_sweep_counts_the_attempts_since_the_last_one() -> None:
    endpoints = endpoint_set((100, 0, 0.01), (60, 40, 0.01))
    detector = OutlierDetector(Outlier(success_gap=0.9))
    assert not detector.sweep(endpoints, 100.0)
    assert [(health.attempts, health.faults, health.good_seconds) for health in endpoints] == [
        (0, 0, 0.0)
    ] * 2


def test_ejected_endpoint_returns_and_stays_out_longer_each_time() -> None:
    detector = OutlierDetector(Outlier(ejection=5, longest_ejection=12))
    good, bad = endpoint_set((0, 0, 0.0), (0, 0, 0.0))
    now = 100.0
    for seconds in (5.0, 10.0, 12.0, 12.0):
        for _ in range(100):
            good.record(False, 0.01)
            bad.record(True, 0.01)
        outs = []
        for instant in (now, now + seconds - 0.001, now + seconds):
            detector.sweep([good, bad], instant)
            outs.append(bad.is_ejected)
        assert outs == [True, True, False]
        now += seconds


def test_faults_that_ejected_an_endpoint_do_not_eject_it_again() -> None:
    detector = OutlierDetector(Outlier(ejection=5))
    good, bad = endpoint_set((100, 0, 0.01), (0, 100, 0.01))
    detector.sweep([good, bad], 100.0)
    for _ in range(100):
        good.record(False, 0.01)
        bad.record(True, 0.01)
    # Nobody called, so nobody looked, until its time was long over.
    detector.sweep([good, bad], 120.0)
    assert not bad.is_ejected


def test_endpoint_that_did_well_for_long_is_forgiven() -> None:
    detector = OutlierDetector(Outlier(ejection=5))
    good, bad = endpoint_set((100, 0, 0.01), (0, 100, 0.01))
    detector.sweep([good, bad], 100.0)
    detector.sweep([good, bad], 105.0)
    detector.sweep([good, bad], 110.0)
    for _ in range(100):
        good.record(False, 0.01)
        bad.record(True, 0.01)
    outs = []
    for instant in (111.0, 115.9, 116.0):
        detector.sweep([good, bad], instant)
        outs.append(bad.is_ejected)
    assert outs == [True, True, False]


def test_faults_in_a_row_end_with_a_success() -> None:
    health = EndpointHealth()
    for is_fault in (True, True, False, True):
        health.record(is_fault, 0.01)
    assert health.faults_in_row == 1


# Probes


def test_endpoint_is_down_after_fall_failed_probes_in_a_row() -> None:
    health = EndpointHealth()
    states = [(health.probe_failed(3), health.is_down) for _ in range(4)]
    # An endpoint is reported as down only once.
    assert states == [(False, False), (False, False), (True, True), (False, True)]


def test_a_passed_probe_ends_the_row_of_failed_ones() -> None:
    health = EndpointHealth()
    for _ in range(5):
        assert not health.probe_failed(2)
        assert not health.probe_passed(1)
    assert not health.is_down
    assert health.failed_probes == 0


def test_endpoint_is_up_after_rise_passed_probes_in_a_row() -> None:
    health = EndpointHealth()
    health.probe_failed(1)
    assert not health.probe_passed(3)
    assert not health.probe_passed(3)
    assert not health.probe_failed(1)
    assert [health.probe_passed(3) for _ in range(3)] == [False, False, True]
    assert not health.is_down
    # Probes that passed while it was up do not count for the next time.
    health.probe_passed(3)
    health.probe_failed(1)
    assert [health.probe_passed(3) for _ in range(3)] == [False, False, True]


def test_probes_are_no_attempts() -> None:
    health = EndpointHealth()
    health.probe_failed(2)
    health.probe_passed(1)
    assert (health.attempts, health.faults, health.faults_in_row) == (0, 0, 0)


@pytest.mark.parametrize("fall", [1, 2])
def test_ejected_endpoint_stays_out_until_its_time_is_over_and_a_probe_passed(fall: int) -> None:
    detector = OutlierDetector(Outlier(ejection=5))
    good, bad = endpoint_set((100, 0, 0.01), (0, 100, 0.01))
    detector.sweep([good, bad], 100.0)
    bad.probe_failed(fall)
    states = [(detector.sweep([good, bad], 106.0), bad.is_ejected)]
    bad.probe_passed(1)
    states.append((detector.sweep([good, bad], 107.0), bad.is_ejected))
    assert states == [(False, True), (True, False)]


def test_passed_probes_do_not_end_an_ejection_before_its_time() -> None:
    detector = OutlierDetector(Outlier(ejection=5))
    good, bad = endpoint_set((100, 0, 0.01), (0, 100, 0.01))
    detector.sweep([good, bad], 100.0)
    bad.probe_passed(1)
    detector.sweep([good, bad], 104.9)
    assert bad.is_ejected

"""Outlier detection: who is ejected, for how long, and who is not."""

from fastrpc._core.endpoint_health import EndpointHealth, OutlierDetector
from fastrpc.config import Outlier


def fleet(*results: tuple[int, int, float]) -> list[EndpointHealth]:
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
    endpoints = fleet((100, 0, 0.01), (100, 1, 0.01), (60, 40, 0.01), (100, 0, 0.01))
    assert ejected(endpoints, Outlier()) == [2]


def test_erring_and_slow_endpoints_are_out_in_one_sweep() -> None:
    endpoints = fleet((100, 0, 0.01), (100, 0, 0.012), (0, 100, 0.01), (100, 0, 0.2), (100, 0, 0.008))
    assert ejected(endpoints, Outlier()) == [2, 3]


def test_endpoint_that_is_slower_only_in_microseconds_stays() -> None:
    assert ejected(fleet((100, 0, 0.0001), (100, 0, 0.0001), (100, 0, 0.005)), Outlier()) == []


def test_endpoints_that_fail_alike_stay() -> None:
    assert ejected(fleet((50, 50, 0.01), (55, 45, 0.01), (45, 55, 0.01)), Outlier()) == []


def test_endpoint_with_few_attempts_is_not_compared() -> None:
    assert ejected(fleet((100, 0, 0.01), (100, 0, 0.01), (0, 19, 0.01)), Outlier()) == []


def test_single_endpoint_is_compared_with_nobody() -> None:
    assert ejected(fleet((0, 100, 0.01)), Outlier()) == []


def test_rules_can_be_left_out() -> None:
    results = ((100, 0, 0.01), (100, 0, 0.01), (0, 100, 0.01), (100, 0, 1.0))
    assert ejected(fleet(*results), Outlier(success_gap=None)) == [3]
    assert ejected(fleet(*results), Outlier(slow_factor=None)) == [2]


def test_each_sweep_looks_at_what_came_since_the_last() -> None:
    endpoints = fleet((100, 0, 0.01), (60, 40, 0.01))
    detector = OutlierDetector(Outlier(success_gap=0.9))
    assert not detector.sweep(endpoints, 100.0)
    assert [(health.attempts, health.faults, health.good_seconds) for health in endpoints] == [
        (0, 0, 0.0)
    ] * 2


def test_ejected_endpoint_returns_and_stays_out_longer_each_time() -> None:
    detector = OutlierDetector(Outlier(ejection=5, longest_ejection=12))
    good, bad = fleet((0, 0, 0.0), (0, 0, 0.0))
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


def test_endpoint_that_did_well_for_long_is_forgiven() -> None:
    detector = OutlierDetector(Outlier(ejection=5))
    good, bad = fleet((100, 0, 0.01), (0, 100, 0.01))
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

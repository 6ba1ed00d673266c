"""Percentiles out of buckets."""

import pytest

from fastrpc.cli.benchmark.latency import Latencies


def test_no_calls_have_no_latency() -> None:
    latencies = Latencies()
    assert (latencies.percentile(0.5), latencies.mean, latencies.count) == (0.0, 0.0, 0)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9, 0.99, 0.999, 1.0])
def test_percentiles_are_within_one_percent(share: float) -> None:
    latencies = Latencies()
    durations = [17 * number * number for number in range(1, 10_001)]
    for duration in durations:
        latencies.add(duration)
    exact = durations[max(0, round(share * len(durations)) - 1)] / 1e9
    assert latencies.percentile(share) == pytest.approx(exact, rel=0.01)


def test_short_durations_are_exact() -> None:
    latencies = Latencies()
    for duration in (3, 5, 7):
        latencies.add(duration)
    assert latencies.percentile(0.5) * 1e9 == pytest.approx(5.5)


def test_no_percentile_is_longer_than_the_longest_call() -> None:
    latencies = Latencies()
    latencies.add(1_000_001)
    assert latencies.percentile(0.999) == 1_000_001 / 1e9


def test_mean_is_exact() -> None:
    latencies = Latencies()
    for duration in (1_000_003, 2_000_005):
        latencies.add(duration)
    assert latencies.mean == pytest.approx(1_500_004e-9, rel=1e-12)


def test_memory_does_not_grow_with_the_number_of_calls() -> None:
    latencies = Latencies()
    for duration in range(1_000, 100_000):
        latencies.add(duration)
    assert len(latencies._buckets) < 600

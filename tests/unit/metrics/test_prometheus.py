"""The Prometheus collector over method counters."""

import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fastrpc._core.base.histogram import CounterRegistry, default_registry
from fastrpc.metrics import collector
from fastrpc.status import Status

LABELS = {"side": "client", "method": "arith.mul"}


@pytest.fixture
def counters() -> CounterRegistry:
    return CounterRegistry()


@pytest.fixture
def exposed(counters: CounterRegistry) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector(counters))
    return registry


def test_calls_are_exposed_by_side_method_and_status(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    counters.counters("arith.mul", "client").count_ended(Status.OK, 1)
    counters.counters("arith.mul", "client").count_ended(Status.NOT_FOUND, 1)
    counters.counters("arith.mul", "server").count_ended(Status.OK, 1)
    assert exposed.get_sample_value("fastrpc_calls_total", LABELS | {"status": "OK"}) == 1
    assert exposed.get_sample_value("fastrpc_calls_total", LABELS | {"status": "NOT_FOUND"}) == 1
    assert exposed.get_sample_value("fastrpc_calls_total", LABELS | {"status": "ABORTED"}) is None


def test_calls_in_flight_are_exposed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters("arith.mul", "client").count_started()
    assert exposed.get_sample_value("fastrpc_calls_in_flight", LABELS) == 1


def test_bytes_are_exposed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters("arith.mul", "client").count_moved(30, 400)
    assert exposed.get_sample_value("fastrpc_received_bytes_total", LABELS) == 30
    assert exposed.get_sample_value("fastrpc_sent_bytes_total", LABELS) == 400


@pytest.mark.parametrize("buckets_per_doubling", [1, 2, 4])
def test_histogram_is_cumulative_and_counts_the_ended_calls(
    counters: CounterRegistry, buckets_per_doubling: int
) -> None:
    durations = [0, 1_024, 1_025, 2_048, 3_000_000, 2**36, 2**36 + 1]
    for elapsed_ns in durations:
        counters.counters("arith.mul", "client").count_started()
        counters.counters("arith.mul", "client").count_ended(Status.OK, elapsed_ns)
    counters.counters("arith.mul", "client").count_started()
    registry = CollectorRegistry()
    registry.register(collector(counters, buckets_per_doubling=buckets_per_doubling))  # type: ignore[arg-type]
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "fastrpc_call_seconds_bucket"
    ]
    assert len(buckets) == 26 * buckets_per_doubling + 2
    for bound, count in buckets:
        assert count == sum(elapsed_ns * 1e-9 <= bound for elapsed_ns in durations)
    assert registry.get_sample_value("fastrpc_call_seconds_count", LABELS) == len(durations)
    assert registry.get_sample_value("fastrpc_call_seconds_sum", LABELS) == pytest.approx(
        sum(durations) * 1e-9
    )


def test_text_form_can_be_parsed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters('odd "name"\\\n', "client").count_ended(Status.OK, 1)
    text = generate_latest(exposed).decode()
    assert {metric.name: metric.type for metric in text_string_to_metric_families(text)} == {
        "fastrpc_calls": "counter",
        "fastrpc_call_seconds": "histogram",
        "fastrpc_calls_in_flight": "gauge",
        "fastrpc_received_bytes": "counter",
        "fastrpc_sent_bytes": "counter",
    }


def test_registering_a_second_collector_is_refused(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        exposed.register(collector(counters))


def test_counters_of_the_process_are_collected_unless_told_otherwise() -> None:
    default_registry.counters("test.prometheus", "server").count_moved(7, 0)
    registry = CollectorRegistry()
    registry.register(collector())
    labels = {"side": "server", "method": "test.prometheus"}
    assert registry.get_sample_value("fastrpc_received_bytes_total", labels) == 7


def test_unknown_fineness_is_refused() -> None:
    with pytest.raises(ValueError, match="buckets_per_doubling is 3, it must be 1, 2 or 4"):
        collector(buckets_per_doubling=3)  # type: ignore[arg-type]


def test_prometheus_is_loaded_by_the_first_collector_only() -> None:
    program = (
        "import sys, fastrpc.metrics; assert 'prometheus_client' not in sys.modules;"
        "fastrpc.metrics.collector(); assert 'prometheus_client' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

"""The Prometheus collector over method counters."""

import re
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fastrpc._core.base.histogram import OTHER_METHODS, CounterRegistry, default_registry
from fastrpc.metrics import collector
from fastrpc.status import Status

LABELS = {"service": "arith", "method": "mul", "protocol": "native"}


@pytest.fixture
def counters() -> CounterRegistry:
    return CounterRegistry()


@pytest.fixture
def exposed(counters: CounterRegistry) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(collector(counters))
    return registry


def test_calls_are_exposed_by_side_service_method_status_and_protocol(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    counters.counters("arith.mul", "client").count_ended(Status.OK, 1)
    counters.counters("arith.mul", "client").count_ended(Status.NOT_FOUND, 1)
    counters.counters("arith.mul", "server").count_ended(Status.OK, 1)
    counters.counters("arith.mul", "server", "toy").count_ended(Status.OK, 1)

    def calls(side: str, status: str, protocol: str = "native") -> float | None:
        labels = LABELS | {"status": status, "protocol": protocol}
        return exposed.get_sample_value(f"fastrpc_{side}_calls_total", labels)

    assert (calls("client", "OK"), calls("client", "NOT_FOUND"), calls("client", "ABORTED")) == (1, 1, None)
    assert (calls("server", "OK"), calls("server", "OK", "toy"), calls("server", "NOT_FOUND")) == (1, 1, None)


def test_calls_in_flight_are_exposed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters("arith.mul", "client").count_started()
    assert exposed.get_sample_value("fastrpc_client_calls_in_flight", LABELS) == 1
    assert exposed.get_sample_value("fastrpc_server_calls_in_flight", LABELS) is None


def test_bytes_are_exposed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters("arith.mul", "client").count_moved(30, 400)
    assert exposed.get_sample_value("fastrpc_client_received_bytes_total", LABELS) == 30
    assert exposed.get_sample_value("fastrpc_client_sent_bytes_total", LABELS) == 400


@pytest.mark.parametrize("buckets_per_doubling", [1, 2, 4])
def test_histogram_is_cumulative_and_counts_the_ended_calls(
    counters: CounterRegistry, buckets_per_doubling: int
) -> None:
    durations = [0, 500_000, 500_001, 2_000_000, 3_000_000, 16_384_000_000, 16_384_000_001, 2**40]
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
        if sample.name == "fastrpc_client_call_seconds_bucket"
    ]
    assert len(buckets) == 15 * buckets_per_doubling + 2
    assert buckets[0][0] == 0.0005
    assert buckets[-2][0] == 16.384
    for bound, count in buckets:
        assert count == sum(elapsed_ns / 1e9 <= bound for elapsed_ns in durations)
    assert registry.get_sample_value("fastrpc_client_call_seconds_count", LABELS) == len(durations)
    assert registry.get_sample_value("fastrpc_client_call_seconds_sum", LABELS) == pytest.approx(
        sum(durations) * 1e-9
    )


def test_text_form_can_be_parsed(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    counters.counters('odd "name"\\\n', "client").count_ended(Status.OK, 1)
    text = generate_latest(exposed).decode()
    kinds = {
        "calls": "counter",
        "call_seconds": "histogram",
        "calls_in_flight": "gauge",
        "received_bytes": "counter",
        "sent_bytes": "counter",
    }
    assert {metric.name: metric.type for metric in text_string_to_metric_families(text)} == {
        f"fastrpc_{side}_{name}": kind for side in ("server", "client") for name, kind in kinds.items()
    }


def test_bounds_are_half_a_millisecond_and_its_doublings(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    counters.counters("arith.mul", "server")
    text = generate_latest(exposed).decode()
    assert re.findall(r'call_seconds_bucket\{le="([^"]+)"', text) == [
        *("0.0005", "0.001", "0.002", "0.004", "0.008", "0.016", "0.032", "0.064", "0.128", "0.256", "0.512"),
        *("1.024", "2.048", "4.096", "8.192", "16.384", "+Inf"),
    ]


def test_labels_are_as_in_the_dashboards(counters: CounterRegistry, exposed: CollectorRegistry) -> None:
    for name in ("acme.v1.Arith.mul", OTHER_METHODS):
        counters.counters(name, "server").count_ended(Status.OK, 1)
    lines = generate_latest(exposed).decode().splitlines()
    assert [line for line in lines if line.startswith("fastrpc_server_calls_total")] == [
        'fastrpc_server_calls_total{method="mul",protocol="native",service="acme.v1.Arith",status="OK"} 1.0',
        'fastrpc_server_calls_total{method="_other",protocol="native",service="_other",status="OK"} 1.0',
    ]


def test_no_series_is_exposed_twice_for_any_methods(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    # Prometheus refuses a whole scrape if one series comes twice.
    for name in ("mul", ".mul", OTHER_METHODS, "_other._other", "a.b.c", "a.b", "..", ".", ""):
        for side in ("client", "server"):
            counters.counters(name, side).count_ended(Status.OK, 1)  # type: ignore[arg-type]
    samples = [line.rpartition(" ")[0] for line in generate_latest(exposed).decode().splitlines()]
    series = [sample for sample in samples if not sample.startswith("#")]
    assert len(series) == len(set(series))


def test_registering_a_second_collector_is_refused(
    counters: CounterRegistry, exposed: CollectorRegistry
) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        exposed.register(collector(counters))


def test_counters_of_the_process_are_collected_by_default() -> None:
    default_registry.counters("test.prometheus", "server").count_moved(7, 0)
    registry = CollectorRegistry()
    registry.register(collector())
    labels = {"service": "test", "method": "prometheus", "protocol": "native"}
    assert registry.get_sample_value("fastrpc_server_received_bytes_total", labels) == 7


def test_unknown_fineness_is_refused() -> None:
    with pytest.raises(ValueError, match="buckets_per_doubling is 3, it must be 1, 2 or 4"):
        collector(buckets_per_doubling=3)  # type: ignore[arg-type]


def test_prometheus_is_loaded_by_the_first_collector_only() -> None:
    program = (
        "import sys, fastrpc.metrics; assert 'prometheus_client' not in sys.modules;"
        "fastrpc.metrics.collector(); assert 'prometheus_client' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)

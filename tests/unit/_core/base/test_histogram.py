"""Method counters: the counted events, and the accuracy of quantiles."""

import json
import math

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastrpc._core.base.histogram import OTHER_METHODS, CounterRegistry, MethodCounters, default_registry
from fastrpc.status import Status
from fastrpc_harness import hot_loops

#: From below the first bucket to beyond the last one, in every order of magnitude.
durations = st.integers(0, 38).flatmap(lambda bits: st.integers(2**bits - 1, 2**bits + 2**bits // 2))
endings = st.lists(st.tuples(st.sampled_from(Status), durations), max_size=60)


def counters_of(*durations: int) -> MethodCounters:
    counters = MethodCounters("arith.mul", "client")
    for elapsed_ns in durations:
        counters.count_started()
        counters.count_ended(Status.OK, elapsed_ns)
    return counters


def bucket_of(elapsed_ns: int) -> int:
    counts = [count for _, count in counters_of(elapsed_ns).snapshot()["buckets"]]
    assert sum(counts) == 1
    return counts.index(1)


UPPER_SECONDS = [upper for upper, _ in counters_of().snapshot()["buckets"]]


def test_new_counters_are_zero() -> None:
    snapshot = MethodCounters("arith.mul", "server").snapshot()
    assert {count for _, count in snapshot.pop("buckets")} == {0}
    assert snapshot == {
        "service": "arith",
        "method": "mul",
        "side": "server",
        "protocol": "native",
        "in_flight": 0,
        "calls": {},
        "received_bytes": 0,
        "sent_bytes": 0,
        "sum_seconds": 0.0,
    }


def test_side_is_client_or_server() -> None:
    with pytest.raises(ValueError, match="side is 'middle', it must be one of client, server"):
        MethodCounters("arith.mul", "middle")  # type: ignore[arg-type]


def test_call_is_in_flight_until_it_ends() -> None:
    counters = MethodCounters("arith.mul", "client")
    counters.count_started()
    counters.count_started()
    assert (counters.in_flight, counters.ended_calls) == (2, 0)
    counters.count_ended(Status.OK, 1)
    assert (counters.in_flight, counters.ended_calls) == (1, 1)


def test_calls_are_counted_by_the_name_of_their_status() -> None:
    counters = MethodCounters("arith.mul", "client")
    for status in (Status.OK, Status.OK, Status.UNAUTHENTICATED):
        counters.count_ended(status, 1)
    assert counters.snapshot()["calls"] == {"OK": 2, "UNAUTHENTICATED": 1}


@pytest.mark.parametrize("status", [-1, 17, 2**31 - 1, -(2**31)])
def test_undefined_status_counts_as_unknown(status: int) -> None:
    counters = MethodCounters("arith.mul", "client")
    counters.count_ended(status, 1)
    assert counters.snapshot()["calls"] == {"UNKNOWN": 1}


def test_bytes_add_up() -> None:
    counters = MethodCounters("arith.mul", "client")
    counters.count_moved(1, 20)
    counters.count_moved(300, 4_000)
    assert (counters.received_bytes, counters.sent_bytes) == (301, 4_020)


def test_durations_add_up() -> None:
    assert counters_of(1_500_000_000, 250_000_000).sum_seconds == pytest.approx(1.75)


def test_bounds_rise_in_quarters_of_doublings_and_end_in_infinity() -> None:
    first = 0.0005 / 2**9
    assert UPPER_SECONDS[0] == first
    assert UPPER_SECONDS[1:6] == pytest.approx([first * part for part in (1.25, 1.5, 1.75, 2, 2.5)])
    assert UPPER_SECONDS[-2] == 65.536
    assert UPPER_SECONDS[-1] == math.inf
    assert len(UPPER_SECONDS) == 106


@given(elapsed_ns=durations)
@example(elapsed_ns=0)
@example(elapsed_ns=2**64 - 1)
def test_duration_is_counted_between_the_bounds_of_its_bucket(elapsed_ns: int) -> None:
    bucket = bucket_of(elapsed_ns)
    assert elapsed_ns / 1e9 <= UPPER_SECONDS[bucket]
    assert bucket == 0 or elapsed_ns / 1e9 > UPPER_SECONDS[bucket - 1]


def test_bound_belongs_to_its_bucket() -> None:
    for bucket in range(105):
        # Bounds of a few microseconds are not whole numbers of nanoseconds.
        bound = int(UPPER_SECONDS[bucket] * 1e9 + 1e-3)
        assert (bucket_of(bound), bucket_of(bound + 1)) == (bucket, bucket + 1)


def test_quantile_of_no_calls_is_not_a_number() -> None:
    assert math.isnan(counters_of().quantile(0.5))


@pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
def test_quantile_outside_zero_and_one_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        counters_of(1).quantile(q)


def test_quantile_spreads_the_calls_of_a_bucket_evenly() -> None:
    counters = counters_of(*[510_000] * 4)
    assert counters.quantile(0) == pytest.approx(500e-6)
    assert counters.quantile(0.2) == pytest.approx(525e-6)
    assert counters.quantile(1) == pytest.approx(625e-6)


def test_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert counters_of(2**40).quantile(0.99) == UPPER_SECONDS[-2]


@given(values=st.lists(durations, min_size=1, max_size=200), q=st.floats(0, 1))
def test_quantile_lies_in_the_bucket_of_the_exact_one(values: list[int], q: float) -> None:
    exact = sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
    bucket = bucket_of(exact)
    lower = UPPER_SECONDS[bucket - 1] if bucket else 0.0
    upper = UPPER_SECONDS[min(bucket, 104)]
    assert lower <= counters_of(*values).quantile(q) <= upper * (1 + 1e-12)


@given(values=st.lists(durations, max_size=50))
def test_quantiles_never_fall(values: list[int]) -> None:
    counters = counters_of(1, *values)
    estimates = [counters.quantile(step / 20) for step in range(21)]
    assert estimates == sorted(estimates)


def counters_after(calls: list[tuple[Status, int]]) -> MethodCounters:
    counters = MethodCounters("arith.mul", "client")
    counters.count_started()
    for status, elapsed_ns in calls:
        counters.count_started()
        counters.count_moved(3, 5)
        counters.count_ended(status, elapsed_ns)
    return counters


@given(first=endings, second=endings)
def test_merging_equals_counting_in_one_place(
    first: list[tuple[Status, int]], second: list[tuple[Status, int]]
) -> None:
    merged = counters_after(first)
    merged.merge(counters_after(second))
    expected = counters_after(first + second)
    expected.count_started()
    assert merged.snapshot() == expected.snapshot()


@given(calls=endings)
def test_snapshot_of_another_process_can_be_merged(calls: list[tuple[Status, int]]) -> None:
    counters = counters_after(calls)
    for received in (
        msgspec.msgpack.decode(msgspec.msgpack.encode(counters.snapshot())),
        json.loads(json.dumps(counters.snapshot())),
    ):
        merged = MethodCounters("arith.mul", "client")
        merged.merge(received)
        assert merged.snapshot() == counters.snapshot()


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("buckets", [(1.0, 1)], ValueError),
        ("calls", {"OK": 2}, ValueError),
        ("calls", {"FINE": 1}, KeyError),
        ("sent_bytes", -1, OverflowError),
        ("in_flight", "many", TypeError),
        ("sum_seconds", math.nan, ValueError),
    ],
)
def test_snapshot_that_does_not_fit_changes_nothing(
    field: str, value: object, error: type[Exception]
) -> None:
    counters = counters_of(5)
    before = counters.snapshot()
    with pytest.raises(error):
        counters.merge(counters_of(7).snapshot() | {field: value})
    assert counters.snapshot() == before


def test_registry_gives_the_same_counters_for_the_same_method_and_side() -> None:
    registry = CounterRegistry()
    client = registry.counters("arith.mul", "client")
    assert registry.counters("arith.mul", "client") is client
    assert registry.counters("arith.mul", "server") is not client
    assert len(registry) == 2
    assert {(item.service, item.method, item.side) for item in registry} == {
        ("arith", "mul", "client"),
        ("arith", "mul", "server"),
    }


def test_registry_counts_each_protocol_separately() -> None:
    registry = CounterRegistry()
    native = registry.counters("arith.mul", "server")
    toy = registry.counters("arith.mul", "server", "toy")
    assert toy is not native
    assert registry.counters("arith.mul", "server", "native") is native
    assert [counters.snapshot()["protocol"] for counters in registry] == ["native", "toy"]


@pytest.mark.parametrize(
    ("name", "service", "method"),
    [
        ("arith.mul", "arith", "mul"),
        ("acme.v1.Arith.mul", "acme.v1.Arith", "mul"),
        ("mul", "", "mul"),
        ("arith.", "arith", ""),
        ("", "", ""),
        (OTHER_METHODS, "_other", "_other"),
    ],
)
def test_service_is_the_part_before_the_last_dot(name: str, service: str, method: str) -> None:
    counters = MethodCounters(name, "client")
    assert (counters.service, counters.method) == (service, method)


@pytest.mark.parametrize(("name", "twin"), [(".mul", "mul"), ("_other._other", OTHER_METHODS)])
def test_names_with_the_same_labels_share_a_counter(name: str, twin: str) -> None:
    registry = CounterRegistry()
    assert registry.counters(name, "client") is registry.counters(twin, "client")


def test_registry_counts_unknown_methods_as_one() -> None:
    registry = CounterRegistry()
    for number in range(5_000):
        registry.counters(f"made.up{number}", "server")
    registry.counters("made.up", "client")
    assert len(registry) == 4_098
    beyond = registry.counters("one.more", "server")
    assert (beyond.service, beyond.method) == ("_other", "_other")
    assert registry.counters("made.up7", "server").method == "up7"


def test_registry_can_grow_while_it_is_read() -> None:
    registry = CounterRegistry()
    registry.counters("arith.mul", "client")
    for counters in registry:
        registry.counters(f"{counters.service}.{counters.method}2", "client")
    assert len(registry) == 2


def test_a_process_has_one_registry() -> None:
    assert isinstance(default_registry, CounterRegistry)


def test_bench_hook_counts_whole_calls() -> None:
    counters = MethodCounters("arith.mul", "client")
    hot_loops.count_calls(counters, 1_000, 100_000)
    assert (counters.ended_calls, counters.in_flight) == (1_000, 0)

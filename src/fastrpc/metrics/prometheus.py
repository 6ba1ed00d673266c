"""The collector that turns method counters into Prometheus metrics."""

import itertools
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fastrpc._core.base.histogram import CounterRegistry, default_registry
from fastrpc.gauges import gauges
from fastrpc.metrics.figures import Values, merged_gauges, process_values

__all__ = ["CallCollector", "family_names", "metrics_of"]

#: The service of a store.
STORE = "fastrpc.store"

#: The number of buckets per doubling in the core's histogram.
PARTS = 4

#: The lowest and the highest finite bound that are shown; each bound between them is double the previous one.
LOWEST_SECONDS = 0.000_5
HIGHEST_SECONDS = 16.384

#: The collectors of this process: `serve` warns about them when workers count the calls.
collectors: "weakref.WeakSet[CallCollector]" = weakref.WeakSet()


class CallCollector(Collector):
    """Read a registry of counters at each scrape of Prometheus."""

    def __init__(self, registry: CounterRegistry, buckets_per_doubling: int = 1) -> None:
        if buckets_per_doubling not in (1, 2, PARTS):
            raise ValueError(f"buckets_per_doubling is {buckets_per_doubling}, it must be 1, 2 or 4")
        collectors.add(self)
        self._registry = registry
        # All other metrics describe the whole process, so only its own registry shows them.
        self._is_of_process = registry is default_registry
        self._step = PARTS // buckets_per_doubling

    def describe(self) -> Iterator[Metric]:
        """Yield the empty metrics, so that registering detects a name clash without reading counters."""
        of_process = (_ProcessFamilies(), _StoreFamilies()) if self._is_of_process else ()
        return itertools.chain(_all_of(_families()), *of_process)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric of servers and clients with a sample for every method."""
        return metrics_of(
            self._registry, process_values(gauges()) if self._is_of_process else None, self._step
        )


def metrics_of(
    registry: CounterRegistry, process: Values | None = None, step: int = PARTS
) -> Iterator[Metric]:
    """Yield the metrics of these counters and of the whole process."""
    families, of_store = _families(), _StoreFamilies()
    for counters in registry:
        snapshot = counters.snapshot()
        families[counters.side].add(snapshot, step)
        if counters.side == "server" and counters.service == STORE:
            of_store.take(snapshot)
    yield from _all_of(families)
    if process is not None:
        of_store.fill(step)
        yield from of_store
        of_process = _ProcessFamilies()
        of_process.fill(process, step)
        yield from of_process


def family_names() -> frozenset[str]:
    """Return the names of our metrics."""
    ours = itertools.chain(_all_of(_families()), _ProcessFamilies(), _StoreFamilies())
    return frozenset(metric.name for metric in ours)


def _families() -> "dict[str, _Families]":
    return {side: _Families(side) for side in ("server", "client")}


def _all_of(families: "dict[str, _Families]") -> Iterator[Metric]:
    return itertools.chain.from_iterable(families.values())


class _Families:
    """The metrics of one side in one scrape."""

    def __init__(self, side: str) -> None:
        prefix, labels = f"fastrpc_{side}", ("service", "method", "protocol")
        self.calls = CounterMetricFamily(
            f"{prefix}_calls", "Calls ended, by status.", labels=("service", "method", "status", "protocol")
        )
        self.seconds = HistogramMetricFamily(f"{prefix}_call_seconds", "How long calls took.", labels=labels)
        self.in_flight = GaugeMetricFamily(
            f"{prefix}_calls_in_flight", "Calls started and not ended.", labels=labels
        )
        self.received = CounterMetricFamily(
            f"{prefix}_received_bytes", "Bytes of payloads received.", labels=labels
        )
        self.sent = CounterMetricFamily(f"{prefix}_sent_bytes", "Bytes of payloads sent.", labels=labels)

    def __iter__(self) -> Iterator[Metric]:
        return iter((self.calls, self.seconds, self.in_flight, self.received, self.sent))

    def add(self, snapshot: dict[str, Any], step: int) -> None:
        """Add the samples of one method."""
        service, method, protocol = labels = tuple(
            snapshot[name] for name in ("service", "method", "protocol")
        )
        for status, count in snapshot["calls"].items():
            self.calls.add_metric((service, method, status, protocol), count)
        self.seconds.add_metric(labels, _cumulative(snapshot["buckets"], step), snapshot["sum_seconds"])
        self.in_flight.add_metric(labels, snapshot["in_flight"])
        self.received.add_metric(labels, snapshot["received_bytes"])
        self.sent.add_metric(labels, snapshot["sent_bytes"])


class _StoreFamilies:
    """The operations of a store in this process: the calls of `fastrpc.store` over any protocol.

    Requests in the dialect of Deimos are not calls.
    """

    def __init__(self) -> None:
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[str, list[tuple[float, int]]] = {}
        self._sums: Counter[str] = Counter()
        self._operations = CounterMetricFamily(
            "fastrpc_store_operations",
            "Calls of fastrpc.store, by the status of their answers.",
            labels=("operation", "outcome"),
        )
        self._seconds = HistogramMetricFamily(
            "fastrpc_store_operation_seconds", "How long they took.", labels=("operation",)
        )

    def __iter__(self) -> Iterator[Metric]:
        return iter((self._operations, self._seconds))

    def take(self, snapshot: dict[str, Any]) -> None:
        """Add the calls of one method over one protocol."""
        operation, buckets = snapshot["method"], snapshot["buckets"]
        for status, count in snapshot["calls"].items():
            self._outcomes[operation, status] += count
        before = self._buckets.get(operation, [(bound, 0) for bound, _ in buckets])
        self._buckets[operation] = [
            (bound, count + more) for (bound, count), (_, more) in zip(before, buckets, strict=True)
        ]
        self._sums[operation] += snapshot["sum_seconds"]

    def fill(self, step: int) -> None:
        """Add all samples."""
        for labels, count in self._outcomes.items():
            self._operations.add_metric(labels, count)
        for operation, buckets in self._buckets.items():
            self._seconds.add_metric((operation,), _cumulative(buckets, step), self._sums[operation])


#: The counters of a process by the values that fill them (`fastrpc.metrics.figures`): name, text, labels.
_COUNTERS = (
    (
        "refused",
        "fastrpc_server_refused",
        "Calls and connections that were not served, by reason.",
        "reason",
    ),
    (
        "client_refused",
        "fastrpc_client_refused",
        "Attempts that servers refused to start or that were not sent, by reason.",
        "reason",
    ),
    ("retries", "fastrpc_client_retries", "Further attempts of calls, by reason.", "reason"),
    (
        "dropped_metadata",
        "fastrpc_dropped_metadata",
        "Entries of metadata from peers that were left out, by protocol.",
        "protocol",
    ),
    ("locks_lost", "fastrpc_locks_lost", "Locks and leaderships that were lost inside their block."),
    ("lan_unverified", "fastrpc_lan_unverified", "Announcements on the local network by unknown keys."),
    (
        "settings_rejected",
        "fastrpc_settings_rejected",
        "Values of settings that were refused, by key.",
        "key",
    ),
    (
        "schedule_runs",
        "fastrpc_schedule_runs",
        "Runs of scheduled methods, by name and outcome.",
        "name",
        "outcome",
    ),
    (
        "messages",
        "fastrpc_messages",
        "Messages of brokers, by topic and outcome: published messages once, others once for each group.",
        "topic",
        "outcome",
    ),
    (
        "relay_pairs",
        "fastrpc_relay_pairs",
        "Pairs of connections of a relay, by the name of the server.",
        "name",
    ),
    (
        "relay_bytes",
        "fastrpc_relay_bytes",
        "Bytes that a relay passed on, by the name of the server: in, from callers, and out.",
        "name",
        "direction",
    ),
    ("relay_refused", "fastrpc_relay_refused", "Connections that a relay refused, by reason.", "reason"),
)


#: The gauges that objects of a process report (`fastrpc.gauges`): name, text, labels.
_GAUGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("fastrpc_server_connections", "Connections of servers.", ("transport", "protocol")),
    ("fastrpc_client_connections", "Connections of clients.", ("transport", "protocol")),
    (
        "fastrpc_client_endpoints",
        "Endpoints of clients, by service and state.",
        ("service", "state"),
    ),
    (
        "fastrpc_client_breaker_state",
        "The worst circuit breaker of an endpoint: 0 closed, 1 half open, 2 open.",
        ("endpoint",),
    ),
    ("fastrpc_registry_up", "Whether a registry answered last.", ("registry",)),
    ("fastrpc_locks_held", "Locks and slots of semaphores that are held.", ()),
    ("fastrpc_locks_waiting", "Locks and elections that are waited for.", ()),
    ("fastrpc_store_items", "Items of a store that the process hosts.", ()),
    ("fastrpc_store_file_bytes", "Bytes of its file and its log.", ()),
    ("fastrpc_store_watchers", "Watches of a store that wait for a change.", ()),
    ("fastrpc_store_leases", "Leases of a store.", ()),
    (
        "fastrpc_messages_lag",
        "Messages of a group that are neither settled nor dead.",
        ("topic", "group"),
    ),
    (
        "fastrpc_messages_oldest_seconds",
        "The age of the oldest of them.",
        ("topic", "group"),
    ),
    ("fastrpc_messages_dead", "Dead letters of a group.", ("topic", "group")),
    ("fastrpc_messages_file_bytes", "Bytes of a broker's file and its log.", ()),
    ("fastrpc_relay_open_pairs", "Open pairs of a relay, by the name of the server.", ("name",)),
    ("fastrpc_relay_names", "Names that servers have claimed at a relay.", ()),
    ("fastrpc_leader", "Whether this process leads, by the name of the election.", ("name",)),
)


class _ProcessFamilies:
    """The metrics of the whole process in one scrape."""

    def __init__(self) -> None:
        # The families, by the values that fill them (`fastrpc.metrics.figures`).
        self._counters = {
            value: CounterMetricFamily(name, text, labels=labels) for value, name, text, *labels in _COUNTERS
        }
        self._waits = {
            value: HistogramMetricFamily(name, text, labels=())
            for value, name, text in (
                (
                    "waits",
                    "fastrpc_server_queue_seconds",
                    "How long calls waited for their start, if they had to.",
                ),
                (
                    "client_waits",
                    "fastrpc_client_queue_seconds",
                    "How long calls waited for a place within the limits of their server, also calls that got none.",
                ),
            )
        }
        self._lag = GaugeMetricFamily("fastrpc_loop_lag_seconds", "How late the slowest event loop is.")
        self._blocked = CounterMetricFamily(
            "fastrpc_loop_blocked_seconds", "Time for which event loops that serve calls were blocked."
        )
        # The families, by the names that objects report (`fastrpc.gauges`).
        self._gauges = {name: GaugeMetricFamily(name, text, labels=labels) for name, text, labels in _GAUGES}

    def __iter__(self) -> Iterator[Metric]:
        return iter(
            (
                *self._counters.values(),
                *self._waits.values(),
                self._lag,
                self._blocked,
                *self._gauges.values(),
            )
        )

    def fill(self, values: Values, step: int) -> None:
        """Add all samples."""
        for name, counter in self._counters.items():
            for reason, count in sorted(values[name].items()):
                counter.add_metric(reason.split("\n") if reason else (), count)
        for name, histogram in self._waits.items():
            waits = values[name]
            histogram.add_metric((), _cumulative(waits["buckets"], step), waits["sum_seconds"])
        self._lag.add_metric((), values["lag_seconds"])
        self._blocked.add_metric((), values["blocked_seconds"])
        for name, samples in merged_gauges(values["gauges"]).items():
            for labels, value in sorted(samples.items()):
                self._gauges[name].add_metric(labels, value)


def _cumulative(buckets: Sequence[tuple[float, int]], step: int) -> list[tuple[str, float]]:
    """Return cumulative buckets, as Prometheus needs them, at every `step`th of the shown bounds."""
    totals = list(itertools.accumulate(count for _, count in buckets))
    shown = [
        (repr(bound), float(total))
        for (bound, _), total in zip(buckets, totals, strict=True)
        if LOWEST_SECONDS <= bound <= HIGHEST_SECONDS
    ]
    return [*shown[::step], ("+Inf", float(totals[-1]))]

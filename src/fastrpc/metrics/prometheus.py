"""The collector that turns method counters into Prometheus metrics."""

import itertools
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fastrpc._core.base.histogram import CounterRegistry

__all__ = ["CallCollector"]

#: Parts that the core's histogram cuts each doubling into.
PARTS = 4


#: The collectors of this process, for those who know that its calls are counted elsewhere.
collectors: "weakref.WeakSet[CallCollector]" = weakref.WeakSet()


class CallCollector(Collector):
    """Reads a registry of counters each time Prometheus scrapes."""

    def __init__(self, registry: CounterRegistry, buckets_per_doubling: int = 1) -> None:
        if buckets_per_doubling not in (1, 2, PARTS):
            raise ValueError(f"buckets_per_doubling is {buckets_per_doubling}, it must be 1, 2 or 4")
        collectors.add(self)
        self._registry = registry
        self._step = PARTS // buckets_per_doubling

    def describe(self) -> Iterator[Metric]:
        """Name the metrics, so that registering finds a clash without reading any counters."""
        return iter(_Families())

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with a sample for every method and side."""
        families = _Families()
        for counters in self._registry:
            families.add(counters.snapshot(), self._step)
        return iter(families)


class _Families:
    """The metrics of one scrape."""

    def __init__(self) -> None:
        labels = ("side", "method")
        self.calls = CounterMetricFamily(
            "fastrpc_calls", "Calls ended, by what became of them.", labels=(*labels, "status")
        )
        self.seconds = HistogramMetricFamily("fastrpc_call_seconds", "How long calls took.", labels=labels)
        self.in_flight = GaugeMetricFamily(
            "fastrpc_calls_in_flight", "Calls started and not ended.", labels=labels
        )
        self.received = CounterMetricFamily(
            "fastrpc_received_bytes", "Bytes received for calls.", labels=labels
        )
        self.sent = CounterMetricFamily("fastrpc_sent_bytes", "Bytes sent for calls.", labels=labels)

    def __iter__(self) -> Iterator[Metric]:
        return iter((self.calls, self.seconds, self.in_flight, self.received, self.sent))

    def add(self, snapshot: dict[str, Any], step: int) -> None:
        """Add the samples of one method on one side."""
        labels = (snapshot["side"], snapshot["method"])
        for status, count in snapshot["calls"].items():
            self.calls.add_metric((*labels, status), count)
        self.seconds.add_metric(labels, _cumulative(snapshot["buckets"], step), snapshot["sum_seconds"])
        self.in_flight.add_metric(labels, snapshot["in_flight"])
        self.received.add_metric(labels, snapshot["received_bytes"])
        self.sent.add_metric(labels, snapshot["sent_bytes"])


def _cumulative(buckets: Sequence[tuple[float, int]], step: int) -> list[tuple[str, float]]:
    """Sum up buckets as Prometheus wants them, and keep each `step`th bound and the infinite last one."""
    totals = list(itertools.accumulate(count for _, count in buckets))
    last = len(buckets) - 1
    summed = [(repr(buckets[index][0]), float(totals[index])) for index in range(0, last, step)]
    return [*summed, ("+Inf", float(totals[last]))]

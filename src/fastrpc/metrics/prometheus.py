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

from fastrpc._core.base.histogram import REFUSALS, CounterRegistry, default_registry

__all__ = ["CallCollector"]

#: Buckets of the core's histogram in each doubling.
PARTS = 4

#: The first and the last finite bound shown; each bound between them doubles the one before.
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
        # Refusals are counted for the process.
        self._is_of_process = registry is default_registry
        self._step = PARTS // buckets_per_doubling

    def describe(self) -> Iterator[Metric]:
        """Yield the empty metrics, so that registering detects a name clash without reading counters."""
        return itertools.chain(_all_of(_families()), [_refused()] if self._is_of_process else [])

    def collect(self) -> Iterator[Metric]:
        """Yield each metric of servers and clients with a sample for every method."""
        families = _families()
        for counters in self._registry:
            families[counters.side].add(counters.snapshot(), self._step)
        if not self._is_of_process:
            return _all_of(families)
        refused = _refused()
        for reason, count in sorted(REFUSALS.items()):
            refused.add_metric((reason,), count)
        return itertools.chain(_all_of(families), [refused])


def _families() -> "dict[str, _Families]":
    return {side: _Families(side) for side in ("server", "client")}


def _refused() -> CounterMetricFamily:
    return CounterMetricFamily(
        "fastrpc_server_refused", "Calls that were not started, by reason.", labels=("reason",)
    )


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


def _cumulative(buckets: Sequence[tuple[float, int]], step: int) -> list[tuple[str, float]]:
    """Return cumulative buckets, as Prometheus needs them, at every `step`th of the shown bounds."""
    totals = list(itertools.accumulate(count for _, count in buckets))
    shown = [
        (repr(bound), float(total))
        for (bound, _), total in zip(buckets, totals, strict=True)
        if LOWEST_SECONDS <= bound <= HIGHEST_SECONDS
    ]
    return [*shown[::step], ("+Inf", float(totals[-1]))]

"""The metrics that a Prometheus server reads from this process."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from fastrpc._core.base.histogram import CounterRegistry
from fastrpc.gauges import gauges
from fastrpc.metrics.figures import process_values
from fastrpc.metrics.prometheus import metrics_of

__all__ = ["Samples", "samples_of", "scraped"]

#: Name and labels -> value.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples_of(text: str) -> Samples:
    """Return the samples of an exposition, read by the parser of Prometheus."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class _OfProcess(Collector):
    """The metrics of the process in `fastrpc.metrics.collector`.

    The tests before left thousands of series of methods, which would take a tenth of a second of each scrape.
    """

    def collect(self) -> Iterator[Metric]:
        return metrics_of(CounterRegistry(), process_values(gauges()))

    def describe(self) -> Iterator[Metric]:
        return self.collect()


def scraped(name: str, **labels: str) -> float | None:
    """Return the present value of one series of the whole process; None if it is missing."""
    registry = CollectorRegistry()
    registry.register(_OfProcess())
    text = generate_latest(registry.restricted_registry([name])).decode()
    return samples_of(text).get((name, frozenset(labels.items())))

"""What a Prometheus server reads of this process."""

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fastrpc.metrics import collector

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


def scraped(name: str, **labels: str) -> float | None:
    """Return the value of one series now; None where there is none."""
    registry = CollectorRegistry()
    registry.register(collector())
    # The tests before left thousands of series of methods: only what is asked for is written and parsed.
    text = generate_latest(registry.restricted_registry([name])).decode()
    return samples_of(text).get((name, frozenset(labels.items())))

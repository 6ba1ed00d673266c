"""Pages of metrics for Prometheus: the program's metrics, ours, and the sums over several processes.

Collectors of a program may raise. A failing collector is logged once, and the metrics of the other collectors are
shown.
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from prometheus_client import REGISTRY
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastrpc._core.base.histogram import default_registry
from fastrpc.gauges import Gauge
from fastrpc.metrics.exact_sum import ExactSum, Plain
from fastrpc.metrics.figures import process_values
from fastrpc.metrics.prometheus import metrics_of
from fastrpc.user_code import contained

__all__ = ["CONTENT_TYPE_LATEST", "Exposition", "Family", "FamilySum", "program_families"]

logger = logging.getLogger("fastrpc.server")

#: A metric as values that JSON can represent: name, type, text, and for each sample its name, labels and value. The
#: value of a sum may be several floats, see `ExactSum`.
Family: TypeAlias = list[Any]

#: A sample's name, and its labels in their order.
_Series: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]

#: Types whose samples are added up over processes. A sample of another type describes one process.
COUNTED = frozenset({"counter", "histogram", "summary"})

#: The label that distinguishes the values of several processes.
WORKER = "worker"


def _registered(failing: set[str]) -> Iterator[Metric]:
    """Yield the metrics of the program's registry; log each failing collector once."""
    # If the registry lacks this attribute, its own iteration is used, which ends at the first failure.
    collectors = getattr(REGISTRY, "_collector_to_names", None)
    for collector in [REGISTRY] if collectors is None else list(collectors):
        name = type(collector).__name__
        try:
            with contained(name):
                found = [_checked(one) for one in collector.collect()]
        except Exception:
            if name not in failing:
                failing.add(name)
                logger.exception("the collector %s fails: its metrics are missing", name)
        else:
            yield from found


def _checked(metric: Metric) -> Metric:
    """Return a metric of a program's collector, or raise TypeError if it is no metric."""
    if not isinstance(getattr(metric, "name", None), str):
        raise TypeError(f"collect() has a {type(metric).__name__}, it must have metrics with names")
    return metric


def _note_unwritable(name: str, failing: set[str]) -> None:
    """Log once that a metric is missing on the page, with the error that is being handled."""
    if name not in failing:
        failing.add(name)
        logger.exception("the metric %s cannot be written, it is missing", name)


class _One(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


class Exposition:
    """Writes pages of metrics."""

    def __init__(self) -> None:
        # The names of collectors and metrics whose failure is logged.
        self._failing: set[str] = set()

    def of_process(self, told: Iterable[Gauge]) -> bytes:
        """Return the program's metrics and ours, with these gauges."""
        # Add our own collectors if the program did not register them itself.
        return self.page([*_registered(self._failing), *metrics_of(default_registry, process_values(told))])

    def page(self, metrics: Iterable[Metric]) -> bytes:
        """Return the page. Of several metrics with the same name it shows the first, as a scrape rejects duplicates."""
        parts: dict[str, bytes] = {}
        for metric in metrics:
            if metric.name in parts:
                continue
            try:
                with contained(metric.name):
                    parts[metric.name] = generate_latest(_One(metric))
            except Exception:
                _note_unwritable(metric.name, self._failing)
        return b"".join(parts.values())


def program_families(failing: set[str], *, without: Iterable[str] = ()) -> list[Family]:
    """Return the metrics of the program's registry, except the names in `without`, as plain values."""
    ours, families = frozenset(without), list[Family]()
    for metric in _registered(failing):
        if metric.name not in ours:
            try:
                with contained(metric.name):
                    families.append(_family_of(metric))
            except Exception:
                _note_unwritable(metric.name, failing)
    return families


def _family_of(metric: Metric) -> Family:
    """Return a metric as plain values. Raises TypeError or ValueError if a value is no number, or a text no str."""
    samples, texts = [], [metric.type, metric.documentation]
    for sample in metric.samples:
        texts += [sample.name, *sample.labels, *sample.labels.values()]
        samples.append([sample.name, dict(sample.labels), float(sample.value)])
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{metric.name} has a name, a label or a documentation that is no text")
    return [metric.name, metric.type, metric.documentation, samples]


class FamilySum:
    """The sum of the program's metrics over several processes.

    Counters, histograms and summaries add up. All other metrics get the label `worker`, and disappear with their
    process.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}
        self._samples: dict[str, dict[_Series, float | ExactSum]] = {}

    def add(self, families: Iterable[Family], worker: str | None, sign: int = 1) -> None:
        """Add the metrics of a worker; None: a process that ended. A sign of -1 subtracts earlier counts."""
        for name, kind, text, samples in families:
            if self._kinds.setdefault(name, (kind, text))[0] != kind:
                continue
            known = self._samples.setdefault(name, {})
            for sample, labels, value in samples:
                if kind not in COUNTED or "quantile" in labels:
                    if worker is not None:
                        known[sample, _marked(labels, worker)] = value
                    continue
                _count(known, (sample, tuple(sorted(labels.items()))), value, sign)

    def families(self) -> list[Family]:
        """Return the sums as plain values."""
        return [
            [
                name,
                *self._kinds[name],
                [[sample, dict(labels), _plain(value)] for (sample, labels), value in known.items()],
            ]
            for name, known in self._samples.items()
            if known
        ]

    def metrics(self) -> Iterator[Metric]:
        """Yield the sums."""
        for name, known in self._samples.items():
            kind, text = self._kinds[name]
            metric = Metric(name, text, kind)
            for (sample, labels), value in known.items():
                metric.add_sample(sample, dict(labels), float(value))
            if known:
                yield metric


def _count(known: dict[_Series, float | ExactSum], key: _Series, value: Plain, sign: int) -> None:
    """Add a sample of a counter or a histogram. Of samples that are creation times, the first is kept."""
    total = known.get(key)
    if not key[0].endswith("_created"):
        if not isinstance(total, ExactSum):
            total = known[key] = ExactSum()
        total.add(value, sign)
    elif sign > 0 and isinstance(value, float):
        known[key] = value if total is None else min(value, float(total))


def _plain(value: float | ExactSum) -> Plain:
    return value.plain() if isinstance(value, ExactSum) else value


def _marked(labels: dict[str, str], worker: str) -> tuple[tuple[str, str], ...]:
    """Add the label `worker`. An existing label of this name is renamed, as in Prometheus."""
    if WORKER in labels:
        labels = labels | {f"exported_{WORKER}": labels[WORKER]}
    return tuple(sorted((labels | {WORKER: worker}).items()))

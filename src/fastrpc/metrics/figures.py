"""The counts of a process as plain values that another process can add up: `figures` and `Sum`."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, TypeAlias

from fastrpc._core.base.histogram import (
    CLIENT_REFUSALS,
    DROPPED,
    OTHER_METHODS,
    REFUSALS,
    RETRIES,
    CounterRegistry,
    MethodCounters,
    default_registry,
    waits_snapshot,
)
from fastrpc._core.loop.loop_state import loop_seconds
from fastrpc.gauges import COUNTS, Gauge
from fastrpc.metrics.exact_sum import ExactSum

__all__ = ["Figures", "Sum", "Values", "figures", "merged_gauges", "method_values", "process_values"]

#: Values that JSON can represent: `methods` is a list of rows, `process` has the counts of the whole process.
Figures: TypeAlias = dict[str, Any]

Values: TypeAlias = dict[str, Any]

#: LABELS: the fields that identify a method's row. NUMBERS: the other values of a row.
LABELS = ("service", "method", "side", "protocol")
NUMBERS = ("in_flight", "received_bytes", "sent_bytes")

#: Figures of a whole process. REASONS: counts by reason. WAITS: the waiting times of calls on the side of servers and
#: of clients.
REASONS = ("refused", "client_refused", "retries", "dropped_metadata", *COUNTS)
WAITS: dict[str, Literal["client", "server"]] = {"waits": "server", "client_waits": "client"}

#: The functions that merge gauges with equal labels of several objects or processes; other gauges add up.
_MERGED_BY: dict[str, Callable[[Iterable[float]], float]] = {
    "fastrpc_client_breaker_state": max,
    "fastrpc_registry_up": min,
    # The maximum, because each client of a remote broker reports the same groups.
    "fastrpc_messages_lag": max,
    "fastrpc_messages_oldest_seconds": max,
    "fastrpc_messages_dead": max,
}


def figures(gauges: Iterable[Gauge]) -> Figures:
    """Return the counts of this process so far, with its gauges."""
    return {"methods": list(method_values()), "process": process_values(gauges)}


def method_values(registry: Iterable[MethodCounters] = default_registry) -> Iterator[Values]:
    """Yield the counts so far of each method of a registry, by default of this process."""
    for counters in registry:
        snapshot = counters.snapshot()
        yield snapshot | {"buckets": [count for _, count in snapshot["buckets"]]}


def process_values(gauges: Iterable[Gauge]) -> Values:
    """Return the counts of the whole process."""
    lag, blocked = loop_seconds()
    # Read first, because brokers update their counts when their gauges are read.
    told = [list(gauge) for gauge in gauges]
    return {
        "refused": dict(REFUSALS),
        "client_refused": dict(CLIENT_REFUSALS),
        "retries": dict(RETRIES),
        "dropped_metadata": dict(DROPPED),
        **{name: dict(counts) for name, counts in COUNTS.items()},
        **{name: waits_snapshot(side) for name, side in WAITS.items()},
        "lag_seconds": lag,
        "blocked_seconds": blocked,
        "gauges": told,
    }


class Sum:
    """The figures of several processes together. Counters add up; gauges come from living processes."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], Values] = {}
        self._reasons: dict[str, dict[str, int]] = {name: {} for name in REASONS}
        self._bounds = [bound for bound, _ in waits_snapshot()["buckets"]]
        self._waits = {name: [0] * len(self._bounds) for name in WAITS}
        self._waited = {name: ExactSum() for name in WAITS}
        self._blocked = ExactSum()
        self._lags: list[float] = []
        self._gauges: list[Gauge] = []

    def add(self, more: Figures, *, is_alive: bool = True) -> None:
        """Add the figures of a process; of a dead process only its counts."""
        for row in more["methods"]:
            self._add_row(row, operator.add, 1)
            if is_alive:
                self._rows[_key(row)]["in_flight"] += row["in_flight"]
        self._add_process(more["process"], operator.add, 1)
        if is_alive:
            self._lags.append(more["process"]["lag_seconds"])
            self._gauges += [
                (name, tuple(labels), value) for name, labels, value in more["process"]["gauges"]
            ]

    def add_refused(self, counts: Values) -> None:
        """Add refusals of the supervisor, by reason. It counts them on the scoreboard."""
        refused = self._reasons["refused"]
        for reason, count in counts.items():
            refused[reason] = refused.get(reason, 0) + count

    def subtract(self, counted: Figures) -> None:
        """Subtract the earlier counts of a process, such as its parent's before the fork."""
        for row in counted["methods"]:
            self._add_row(row, operator.sub, -1)
        self._add_process(counted["process"], operator.sub, -1)

    def _add_row(self, row: Values, combine: Callable[[int, int], int], sign: int) -> None:
        key = _key(row)
        known = self._rows.get(key)
        if known is None:
            known = self._rows[key] = dict(zip(LABELS, key, strict=True))
            known |= {"calls": {}, "buckets": [0] * len(row["buckets"]), **dict.fromkeys(NUMBERS, 0)}
            known["sum_seconds"] = ExactSum()
        for status, count in row["calls"].items():
            known["calls"][status] = combine(known["calls"].get(status, 0), count)
        known["buckets"] = list(map(combine, known["buckets"], row["buckets"]))
        for name in NUMBERS[1:]:
            known[name] = combine(known[name], row[name])
        known["sum_seconds"].add(row["sum_seconds"], sign)

    def _add_process(self, values: Values, combine: Callable[[int, int], int], sign: int) -> None:
        for name, ours in self._reasons.items():
            for reason, count in values[name].items():
                ours[reason] = combine(ours.get(reason, 0), count)
        for name, waited in self._waited.items():
            counts = [count for _, count in values[name]["buckets"]]
            self._waits[name] = list(map(combine, self._waits[name], counts))
            waited.add(values[name]["sum_seconds"], sign)
        self._blocked.add(values["blocked_seconds"], sign)

    def figures(self) -> Figures:
        """Return the figures of all processes, for another sum."""
        process = self.process()
        for name, waited in self._waited.items():
            process[name]["sum_seconds"] = waited.plain()
        process["blocked_seconds"] = self._blocked.plain()
        rows = [row | {"sum_seconds": row["sum_seconds"].plain()} for row in self._rows.values()]
        return {"methods": rows, "process": process}

    def process(self) -> Values:
        """Return the counts of all processes together. The loop lag is the highest."""
        waits = {
            name: {
                "buckets": list(zip(self._bounds, self._waits[name], strict=True)),
                "sum_seconds": float(waited),
            }
            for name, waited in self._waited.items()
        }
        return {
            **{name: dict(counts) for name, counts in self._reasons.items()},
            **waits,
            "lag_seconds": max(self._lags, default=0.0),
            "blocked_seconds": float(self._blocked),
            "gauges": list(self._gauges),
        }

    def counters(self) -> CounterRegistry:
        """Return the counters of all methods."""
        registry = CounterRegistry()
        for row in self._rows.values():
            is_other = row["service"] == OTHER_METHODS
            name = OTHER_METHODS if is_other else f"{row['service']}.{row['method']}".removeprefix(".")
            snapshot = row | {
                "buckets": [(0.0, count) for count in row["buckets"]],
                "sum_seconds": float(row["sum_seconds"]),
            }
            registry.counters(name, row["side"], row["protocol"]).merge(snapshot)
        return registry


def _key(row: Values) -> tuple[str, ...]:
    return tuple(row[name] for name in LABELS)


def merged_gauges(gauges: Iterable[Gauge]) -> dict[str, dict[tuple[str, ...], float]]:
    """Return gauges by name and labels, as each series may occur only once."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in gauges:
        values = found.setdefault(name, {})
        merged = _MERGED_BY.get(name, sum)
        values[labels] = merged((values[labels], value)) if labels in values else value
    return found

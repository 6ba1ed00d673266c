"""The figures of several processes as one."""

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest

from fastrpc._core.base.histogram import CounterRegistry
from fastrpc.metrics.exposition import FamilySum
from fastrpc.metrics.figures import Sum, figures, method_values
from fastrpc.status import Status

pytestmark = pytest.mark.one_loop


def counted(*calls: tuple[str, Status], in_flight: int = 0, gauges: Any = ()) -> dict[str, Any]:
    """Return the figures of a process that served these calls."""
    registry = CounterRegistry()
    for name, status in calls:
        counters = registry.counters(name, "server")
        counters.count_ended(status, 1_000_000)
        counters.count_moved(10, 20)
    for _ in range(in_flight):
        registry.counters("a.b", "server").count_started()
    values = figures(gauges) | {"methods": list(method_values(registry))}
    # As another process gets them.
    return dict(json.loads(json.dumps(values)))


def rows(total: Sum) -> dict[str, dict[str, Any]]:
    return {f"{one.service}.{one.method}": one.snapshot() for one in total.counters()}


def test_counts_add_up_and_gauges_of_the_dead_go() -> None:
    total = Sum()
    total.add(counted(("a.b", Status.OK), ("a.b", Status.OK), in_flight=3))
    total.add(counted(("a.b", Status.OK), ("a.b", Status.NOT_FOUND), in_flight=5), is_alive=False)
    found = rows(total)["a.b"]
    assert found["calls"] == {"OK": 3, "NOT_FOUND": 1}
    assert found["received_bytes"] == 40
    assert sum(count for _, count in found["buckets"]) == 4
    # Ended calls were never counted as started here.
    assert found["in_flight"] == 3 - 2


def test_counts_of_the_parent_process_are_subtracted() -> None:
    before = counted(("a.b", Status.OK), ("c.d", Status.OK))
    past = Sum()
    past.subtract(before)
    total = Sum()
    total.add(past.figures(), is_alive=False)
    total.add(counted(("a.b", Status.OK), ("c.d", Status.OK), ("c.d", Status.OK)))
    assert rows(total)["a.b"]["calls"].get("OK", 0) == 0
    assert rows(total)["c.d"]["calls"] == {"OK": 1}


@pytest.mark.parametrize("name", ["echo.echo", "plain", "deep.er.name", "_other"])
def test_names_are_unchanged(name: str) -> None:
    total = Sum()
    total.add(counted((name, Status.OK)))
    (found,) = total.counters()
    expected = CounterRegistry().counters(name, "server")
    assert (found.service, found.method) == (expected.service, expected.method)


def test_gauges_keep_their_labels() -> None:
    total = Sum()
    for value in (1.0, 2.0):
        total.add(counted(gauges=[("fastrpc_registry_up", ("r",), value)]))
    assert total.process()["gauges"] == [
        ("fastrpc_registry_up", ("r",), 1.0),
        ("fastrpc_registry_up", ("r",), 2.0),
    ]


def family(name: str, kind: str, *samples: tuple[str, dict[str, str], float]) -> list[Any]:
    return [name, kind, "Of a test.", [list(sample) for sample in samples]]


def test_families_of_the_program_add_up_by_their_kind() -> None:
    total = FamilySum()
    for worker, value in (("1", 2.0), ("2", 3.0), (None, 10.0)):
        total.add(
            [
                family("c", "counter", ("c_total", {"a": "b"}, value), ("c_created", {"a": "b"}, value)),
                family("g", "gauge", ("g", {}, value)),
                family("s", "summary", ("s_count", {}, value), ("s", {"quantile": "0.5"}, value)),
                family("own", "gauge", ("own", {"worker": "mine"}, value)),
            ],
            worker,
        )
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in total.metrics()
        for sample in metric.samples
    }
    assert found == {
        ("c_total", (("a", "b"),)): 15.0,
        ("c_created", (("a", "b"),)): 2.0,
        ("g", (("worker", "1"),)): 2.0,
        ("g", (("worker", "2"),)): 3.0,
        ("s_count", ()): 15.0,
        ("s", (("quantile", "0.5"), ("worker", "1"))): 2.0,
        ("s", (("quantile", "0.5"), ("worker", "2"))): 3.0,
        ("own", (("exported_worker", "mine"), ("worker", "1"))): 2.0,
        ("own", (("exported_worker", "mine"), ("worker", "2"))): 3.0,
    }


def test_a_family_that_changes_its_kind_is_left_out() -> None:
    total = FamilySum()
    total.add([family("x", "counter", ("x_total", {}, 1.0))], "1")
    total.add([family("x", "gauge", ("x", {}, 5.0))], "2")
    assert [sample.name for metric in total.metrics() for sample in metric.samples] == ["x_total"]


class Processes:
    """Simulates workers that count floats and replace one another; each takes over its predecessor's counts."""

    def __init__(self) -> None:
        self._choose = random.Random(1)
        self._own = [self._counted(0.0) for _ in range(4)]
        self._past: list[Any] = [None] * 4

    def _counted(self, value: float) -> dict[str, Any]:
        values = counted(("a.b", Status.OK))
        values["methods"][0]["sum_seconds"] = values["process"]["blocked_seconds"] = value
        for waits in ("waits", "client_waits"):
            values["process"][waits]["sum_seconds"] = value
        families = [
            family("spent_seconds", "counter", ("spent_seconds_total", {}, value)),
            family("sizes", "histogram", ("sizes_bucket", {"le": "+Inf"}, 1.0), ("sizes_sum", {}, value)),
        ]
        return {"figures": values, "families": families, "value": value}

    def replace_one(self) -> None:
        """Count some more, then let one process end and another take its place."""
        for index, own in enumerate(self._own):
            # Whole nanoseconds, as of a clock, some of them of months.
            more = self._choose.choice([1, 1e3, 1e9, 1e16]) * self._choose.random()
            self._own[index] = self._counted(own["value"] + round(more) / 1e9)
        index = self._choose.randrange(4)
        left = json.loads(json.dumps(self._sum([index])))
        self._past[index] = left
        self._own[index] = self._counted(0.0)

    def _sum(self, places: Iterable[int]) -> dict[str, Any]:
        sums, families = Sum(), FamilySum()
        for index in places:
            for part in (self._own[index], self._past[index]):
                if part is not None:
                    sums.add(part["figures"], is_alive=False)
                    families.add(part["families"], None)
        return {"figures": sums.figures(), "families": families.families()}

    def shown(self) -> dict[str, float]:
        """Return the totals that a page shows."""
        whole = json.loads(json.dumps(self._sum(range(4))))
        sums, families = Sum(), FamilySum()
        sums.add(whole["figures"], is_alive=False)
        families.add(whole["families"], None)
        process = sums.process()
        samples = {one.name: one.value for metric in families.metrics() for one in metric.samples}
        return {
            "waits": process["waits"]["sum_seconds"],
            "client_waits": process["client_waits"]["sum_seconds"],
            "blocked": process["blocked_seconds"],
            "calls": rows(sums)["a.b"]["sum_seconds"],
            "counter": samples["spent_seconds_total"],
            "sum": samples["sizes_sum"],
        }


def test_no_sum_of_seconds_falls_by_a_bit_when_a_process_is_replaced() -> None:
    processes = Processes()
    before = processes.shown()
    for _ in range(300):
        processes.replace_one()
        now = processes.shown()
        assert {name for name in now if now[name] < before[name]} == set()
        before = now

"""Answers of the page of figures leave out unchanged figures, and lose nothing."""

import json

import pytest

from fastrpc._core.base.histogram import CounterRegistry, MethodCounters
from fastrpc.server.admin.figures import FigureChanges, Figures, method_figures, process_facts
from tests.conftest import Scale


def counted(name: str, *nanoseconds: int) -> MethodCounters:
    counters = MethodCounters(name, "server")
    for one in nanoseconds:
        counters.count_started()
        counters.count_ended(0, one)
    return counters


def test_first_answer_has_all_methods() -> None:
    methods = [MethodCounters("a.quiet", "server"), counted("a.busy", 1)]
    assert FigureChanges().changed(methods, None)[1] == methods


def test_unchanged_methods_are_left_out() -> None:
    changes, one, other = FigureChanges(), counted("a.one", 1), counted("a.other", 1)
    revision, _ = changes.changed([one, other], None)
    other.count_started()
    revision, changed = changes.changed([one, other], revision)
    assert changed == [other]
    assert changes.changed([one, other], revision)[1] == []


@pytest.mark.parametrize("distance", [-(1 << 53), -1, 1, 1 << 40])
def test_revision_that_was_not_given_here_leaves_nothing_out(distance: int) -> None:
    changes, one = FigureChanges(), counted("a.one", 1)
    revision, _ = changes.changed([one], None)
    assert changes.changed([one], revision + distance)[1] == [one]


def test_revision_of_another_server_leaves_nothing_out() -> None:
    one, others = counted("a.one", 1), FigureChanges()
    revision, _ = others.changed([one], None)
    for _ in range(100):
        assert FigureChanges().changed([one], revision)[1] == [one]


def test_readers_lose_no_change_over_random_polls(scale: Scale) -> None:
    source = scale.random(57)
    changes, registry = FigureChanges(), CounterRegistry()
    readers: list[tuple[int | None, dict[str, dict[str, object]]]] = [(None, {}) for _ in range(3)]
    for _ in range(1_000):
        for _ in range(source.randrange(4)):
            one = registry.counters(f"a.m{source.randrange(20)}", "server")
            one.count_started()
            if source.random() < 0.8:
                one.count_ended(source.randrange(17), source.randrange(10**10))
        number = source.randrange(3)
        after, known = readers[number]
        answer = json.loads(changes.page(Figures({"server": "s"}, registry), after))
        known.update({row["method"]: row for row in answer["methods"]})
        readers[number] = answer["revision"], known
        assert known == {one.method: method_figures(one) for one in registry}


def test_used_buckets_have_their_bounds_in_seconds() -> None:
    row = method_figures(counted("a.one", 1_000_000, 1_000_000, 10**15))
    (low, many), (highest, few) = row["buckets"]
    assert 0.001 <= low < 0.0012
    assert (many, highest, few) == (2, None, 1)


def test_process_tells_its_processor_time_and_memory() -> None:
    before, after = process_facts(), process_facts()
    assert before["processor_seconds"] is not None
    assert after["processor_seconds"] >= before["processor_seconds"]
    assert process_facts(2**22 + 1)["resident_bytes"] is None

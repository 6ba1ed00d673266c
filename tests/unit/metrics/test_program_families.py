"""The metrics of a program as plain values, which another process adds up."""

import json
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastrpc.metrics.exposition import Exposition, program_families


class Shelf(Collector):
    """A collector with a metric that no page can have, and another one."""

    def __init__(self, labels: dict[str, Any], value: Any) -> None:
        self._sample = labels, value

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        odd = Metric("shelf_odd", "Of a test.", "gauge")
        odd.add_sample("shelf_odd", *self._sample)
        plain = Metric("shelf_depth", "Of a test.", "gauge")
        plain.add_sample("shelf_depth", {"side": "left"}, 3)
        yield odd
        yield plain


class Unreadable:
    def __float__(self) -> float:
        raise SystemExit(3)


@pytest.mark.parametrize(
    ("labels", "value"), [({}, "many"), ({}, Unreadable()), ({"side": object()}, 1.0), ({"side": 7}, 1.0)]
)
def test_a_metric_that_cannot_be_written_is_left_out_and_logged_once(
    labels: dict[str, Any], value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, failing = Shelf(labels, value), set[str]()
    prometheus_client.REGISTRY.register(shelf)
    try:
        for _ in range(2):
            found = {name: samples for name, _, _, samples in program_families(failing)}
            assert "shelf_odd" not in found
            assert found["shelf_depth"] == [["shelf_depth", {"side": "left"}, 3.0]]
            json.dumps(found)
    finally:
        prometheus_client.REGISTRY.unregister(shelf)
    assert [record.message for record in caplog.records] == [
        "the metric shelf_odd cannot be written, it is missing"
    ]


class Odd(Collector):
    """A collector with a value that is no metric, or a metric whose documentation is no text."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Any]:
        yield self._value


@pytest.mark.parametrize(
    ("value", "logged"),
    [
        (None, "the collector Odd fails: its metrics are missing"),
        (
            Metric("shelf_odd", b"Of a test.", "gauge"),
            "the metric shelf_odd cannot be written, it is missing",
        ),
    ],
    ids=["no metric", "no text"],
)
def test_a_collector_with_an_odd_value_leaves_all_others(
    value: Any, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    odd, shelf, failing, page = Odd(value), Shelf({}, 1.0), set[str](), Exposition()
    prometheus_client.REGISTRY.register(odd)
    prometheus_client.REGISTRY.register(shelf)
    try:
        found = {name: samples for name, _, _, samples in program_families(failing)}
        json.dumps(found)
        assert found.keys() >= {"shelf_odd", "shelf_depth"}
        assert found["shelf_odd"] == [["shelf_odd", {}, 1.0]]
        assert b'shelf_depth{side="left"} 3.0' in page.of_process([])
    finally:
        prometheus_client.REGISTRY.unregister(odd)
        prometheus_client.REGISTRY.unregister(shelf)
    assert [record.message for record in caplog.records] == [logged] * 2

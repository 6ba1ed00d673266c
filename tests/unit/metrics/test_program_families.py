"""The metrics of a program as plain values, which another process adds up."""

import json
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from fastrpc.metrics.exposition import program_families


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

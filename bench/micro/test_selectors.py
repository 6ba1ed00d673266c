"""Selectors: the cost of a pick and its observation, as the engine calls them.

pytest bench/micro/test_selectors.py
"""

import pytest

from bench.conftest import MeasurePerCall
from fastrpc._core.balancing.breaker import RetryBudget
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.hash_ring import HashRing
from fastrpc.config import Breaker, Outlier
from fastrpc.endpoint import Endpoint
from fastrpc.selectors import selector_for
from fastrpc.selectors.base import selector_names
from fastrpc_harness import hot_loops

CALLS = 20_000

endpoint_counts = pytest.mark.parametrize("endpoints", [3, 1_000])


def endpoint_set(size: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.{n // 250}.{n % 250}:8972") for n in range(size)]


@endpoint_counts
@pytest.mark.parametrize("name", selector_names())
def test_pick_with_a_new_key_each(measure_per_call: MeasurePerCall, name: str, endpoints: int) -> None:
    selector = selector_for(name)
    selector.update(endpoint_set(endpoints))
    keys = [f"customer:{number}" for number in range(CALLS)]
    measure_per_call(lambda: hot_loops.pick(selector, CALLS, keys), CALLS)


def test_ring_is_built(measure_per_call: MeasurePerCall) -> None:
    nodes = {str(endpoint.address): 1 for endpoint in endpoint_set(1_000)}
    measure_per_call(lambda: HashRing(nodes), 1_000)


def test_ring_changes_by_one_node(measure_per_call: MeasurePerCall) -> None:
    ring = HashRing({str(endpoint.address): 1 for endpoint in endpoint_set(1_000)})

    def come_and_go() -> None:
        ring.add("tcp://10.9.9.9:8972")
        ring.remove("tcp://10.9.9.9:8972")

    measure_per_call(come_and_go, 2)


@endpoint_counts
@pytest.mark.parametrize("name", ["round_robin", "consistent_hash", "least_loaded"])
def test_placement_with_breaker_and_outlier_detection(
    measure_per_call: MeasurePerCall, name: str, endpoints: int
) -> None:
    endpoint_set_of_client = EndpointSet(selector_for(name), breaker=Breaker(), outlier=Outlier())
    endpoint_set_of_client.update(endpoint_set(endpoints))
    keys = [f"customer:{number}" for number in range(CALLS)]
    measure_per_call(lambda: hot_loops.place(endpoint_set_of_client, CALLS, keys), CALLS)


def test_budget_counts_a_call(measure_per_call: MeasurePerCall) -> None:
    budget = RetryBudget()
    measure_per_call(lambda: hot_loops.count_in_budget(budget, CALLS), CALLS)

"""The cost of a pick: zones are free, sticky keys and a canary cost little more than the selector inside."""

import time
from types import SimpleNamespace

import pytest

from fastrpc import Endpoint, Place
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc.selectors import Canary, LeastLoaded, RoundRobin, Sticky, version, zones

pytestmark = pytest.mark.measures

PICKS = 20_000
CALL = SimpleNamespace(
    method="arith.mul", hash_key="user-17", arguments=(), _selecting_metadata={"user": "ann"}
)


def nanoseconds(selector: BaseSelector) -> float:
    """Return the time of a pick with its end, the least of several rounds."""
    endpoint_set = EndpointSet(selector)
    endpoint_set.update(
        [Endpoint(f"tcp://10.0.0.1:{n}", zone="ab"[n % 2], version=str(1 + n % 2)) for n in range(1, 21)]
    )
    rounds = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(PICKS):
            endpoint_set.pick(CALL).ended()
        rounds.append(time.perf_counter() - began)
    return min(rounds) / PICKS * 1e9


def test_zones_cost_a_pick_nothing() -> None:
    zoned = nanoseconds(RoundRobin(filters=[zones(place=Place(zone="a"))]))
    assert zoned - nanoseconds(RoundRobin()) <= 25


@pytest.mark.parametrize("inner", [RoundRobin, LeastLoaded])
def test_a_sticky_key_costs_at_most_150_ns_more_than_its_inner_selector(inner: type[BaseSelector]) -> None:
    assert nanoseconds(Sticky(inner())) - nanoseconds(inner()) <= 150


@pytest.mark.parametrize("options", [{}, {"by": "user"}, {"by": "user", "when": {"x-canary": "yes"}}])
def test_a_canary_costs_at_most_400_ns_more_than_its_inner_selector(options: dict[str, str]) -> None:
    canary = Canary(to=version("2"), percent=5, **options)  # type: ignore[arg-type]
    assert nanoseconds(canary) - nanoseconds(RoundRobin()) <= 400

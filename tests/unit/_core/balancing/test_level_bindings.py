"""The keys of `Sticky`, spread evenly over equally loaded endpoints."""

import random
from typing import Any

import pytest

from fastrpc import Endpoint
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.selectors import LeastLoaded, RoundRobin, Sticky
from tests.support.endpoint_sets import Clock, call, endpoints, name


def place(endpoint_set: EndpointSet, key: object) -> str:
    pick = endpoint_set.pick(call(key=key))
    pick.ended(None)
    return name(pick)


class TestLevel:
    """New keys of a selector by load go to the endpoint with the fewest keys among equally loaded ones."""

    def keys_by_endpoint(
        self, seconds: Any, *, keys: int = 1_000, size: int = 4, **options: Any
    ) -> list[int]:
        """Make one call after the other, each with a new key; `seconds` gives the time that a call takes."""
        clock = Clock()
        endpoint_set = EndpointSet(Sticky(LeastLoaded(clock=clock), clock=clock, **options), clock=clock)
        endpoint_set.update(endpoints(size))
        counts = dict.fromkeys((each.endpoint.address.path for each in endpoint_set.endpoint_states), 0)
        for key in range(keys):
            pick = endpoint_set.pick(call(key=key))
            clock.now += seconds(name(pick))
            pick.ended(None)
            counts[name(pick)] += 1
        return list(counts.values())

    @pytest.mark.parametrize("size", [2, 3, 4, 7])
    def test_sequential_keys_are_spread_evenly(self, size: int) -> None:
        generator = random.Random(size)
        counts = self.keys_by_endpoint(lambda _: generator.uniform(0.0001, 0.001), size=size)
        assert max(counts) - min(counts) <= 1

    def test_one_slow_call_keeps_no_keys_away(self) -> None:
        times = iter([0.05])
        counts = self.keys_by_endpoint(lambda _: next(times, 0.0002))
        assert max(counts) - min(counts) <= 1

    def test_a_slow_endpoint_gets_no_key_for_having_few(self) -> None:
        counts = self.keys_by_endpoint(lambda where: 0.5 if where == "a" else 0.001)
        assert counts[0] < 250 / 2
        assert max(counts[1:]) - min(counts[1:]) <= 1

    def test_a_busy_endpoint_gets_no_key_for_having_few(self) -> None:
        clock = Clock()
        endpoint_set = EndpointSet(Sticky(LeastLoaded(clock=clock), clock=clock), clock=clock)
        endpoint_set.update(endpoints(3))
        held = [endpoint_set.pick(call(key="held")) for _ in range(5)]
        busy = name(held[0])
        assert busy not in {place(endpoint_set, key) for key in range(100)}
        for pick in held:
            pick.ended(None)

    def test_keys_are_spread_by_weight(self) -> None:
        clock = Clock()
        endpoint_set = EndpointSet(Sticky(LeastLoaded(clock=clock), clock=clock), clock=clock)
        endpoint_set.update([Endpoint("memory://a", weight=3), Endpoint("memory://b", weight=1)])
        found = [place(endpoint_set, key) for key in range(400)]
        assert found.count("a") == 300

    def test_keys_of_an_endpoint_that_left_are_spread_evenly(self) -> None:
        clock = Clock()
        endpoint_set = EndpointSet(Sticky(LeastLoaded(clock=clock), clock=clock), clock=clock)
        endpoint_set.update(endpoints(4))
        for key in range(1_000):
            place(endpoint_set, key)
        endpoint_set.update([each for each in endpoints(4) if each.address.path != "b"])
        after = [place(endpoint_set, key) for key in range(1_000)]
        counts = [after.count(each) for each in "acd"]
        assert max(counts) - min(counts) <= 1

    def test_other_selectors_mean_the_endpoint_that_they_pick(self) -> None:
        plain, sticky = EndpointSet(RoundRobin(seed=3)), EndpointSet(Sticky(RoundRobin(seed=3)))
        for each in (plain, sticky):
            each.update(endpoints(3))
        assert [place(sticky, key) for key in range(9)] == [place(plain, None) for _ in range(9)]

"""Keys in an endpoint set: they follow the list that the filters leave, and only keys of lost endpoints move."""

import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Breaker, Outlier
from fastrpc.endpoint import Endpoint
from fastrpc.selectors import ConsistentHash, DoubleJump, RoundRobin, selector_for, zone
from tests.support.endpoint_sets import LOST, Clock, call, endpoints
from tests.support.keyed import SELECTORS

KEYS = range(300)


def set_of(selector: Any, size: int = 4, **options: Any) -> EndpointSet:
    endpoint_set = EndpointSet(selector_for(selector), clock=Clock(), **options)
    endpoint_set.update(endpoints(size))
    return endpoint_set


def placed(endpoint_set: EndpointSet, keys: Iterable[int] = KEYS, tried: Any = ()) -> dict[int, str]:
    found = {}
    for key in keys:
        pick = endpoint_set.pick(call(key=key), tried)
        found[key] = pick.endpoint.address.path
        pick.dropped()
    return found


def moved(before: dict[int, str], after: dict[int, str]) -> dict[int, str]:
    return {key: before[key] for key in before if before[key] != after[key]}


@pytest.mark.parametrize("selector", SELECTORS)
def test_keys_do_not_depend_on_the_order_in_which_connections_come_and_go(selector: str) -> None:
    endpoint_set, chance = set_of(selector), random.Random(1)
    expected = placed(set_of(selector))
    for _ in range(50):
        endpoint_set.set_all_leaving(set(chance.sample(endpoint_set.endpoint_states, 2)))
    endpoint_set.set_all_leaving(set())
    assert placed(endpoint_set) == expected


@pytest.mark.parametrize("selector", SELECTORS)
def test_only_keys_of_endpoints_that_are_lost_move(selector: str) -> None:
    endpoint_set = set_of(selector, 5)
    before = placed(endpoint_set)
    states = endpoint_set.endpoint_states
    endpoint_set.set_leaving(states[1], True)
    one = placed(endpoint_set)
    assert set(moved(before, one).values()) == {"b"}
    assert set(one.values()) == set("acde")
    endpoint_set.set_leaving(states[3], True)
    two = placed(endpoint_set)
    assert set(moved(one, two).values()) == {"d"}
    assert set(two.values()) == set("ace")
    # The order of a key does not depend on which endpoint was lost first, nor on how the next one is found.
    assert two == placed(set_of(selector, 5), tried=[states[3].endpoint, states[1].endpoint])
    endpoint_set.set_leaving(states[1], False)
    endpoint_set.set_leaving(states[3], False)
    assert placed(endpoint_set) == before


@pytest.mark.parametrize("selector", SELECTORS)
def test_keys_of_a_lost_endpoint_spread_over_other_endpoints(selector: str) -> None:
    endpoint_set = set_of(selector, 4)
    keys = range(4_000)
    before = placed(endpoint_set, keys)
    endpoint_set.set_leaving(endpoint_set.endpoint_states[1], True)
    after = placed(endpoint_set, keys)
    counts = Counter(after[key] for key in moved(before, after))
    assert set(counts) == set("acd")
    assert min(counts.values()) > sum(counts.values()) / 6


@pytest.mark.parametrize("selector", SELECTORS)
def test_keys_of_an_endpoint_that_is_down_or_ejected_move_and_return(selector: str) -> None:
    endpoint_set = set_of(selector, outlier=Outlier(consecutive=2))
    before = placed(endpoint_set)
    states = endpoint_set.endpoint_states
    endpoint_set.probe_failed(states[0], 1)
    assert set(moved(before, placed(endpoint_set)).values()) == {"a"}
    endpoint_set.probe_passed(states[0], 1)
    assert placed(endpoint_set) == before
    for _ in range(2):
        endpoint_set.pick_at(call(), states[2]).ended(LOST)
    assert set(moved(before, placed(endpoint_set)).values()) == {"c"}


@pytest.mark.parametrize("selector", SELECTORS)
def test_keys_of_an_endpoint_whose_breaker_is_open_move(selector: str) -> None:
    endpoint_set = set_of(selector, breaker=Breaker(consecutive=1))
    before = placed(endpoint_set)
    endpoint_set.pick_at(call(), endpoint_set.endpoint_states[2]).ended(LOST)
    after = placed(endpoint_set)
    assert set(moved(before, after).values()) == {"c"}
    # A lost endpoint next to it: a key passes both.
    endpoint_set.set_leaving(endpoint_set.endpoint_states[0], True)
    assert set(placed(endpoint_set).values()) == {"b", "d"}


@pytest.mark.parametrize("selector", SELECTORS)
def test_keys_keep_their_places_where_no_endpoint_is_connected(selector: str) -> None:
    endpoint_set = set_of(selector)
    before = placed(endpoint_set)
    endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states))
    assert placed(endpoint_set) == before


@pytest.mark.parametrize("selector", SELECTORS)
def test_an_endpoint_of_weight_0_takes_keys_only_if_all_others_are_lost(selector: str) -> None:
    endpoint_set = EndpointSet(selector_for(selector))
    endpoint_set.update([Endpoint("memory://a", weight=0), *endpoints(3)[1:]])
    before = placed(endpoint_set)
    assert set(before.values()) == {"b", "c"}
    endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states[1:]))
    assert set(placed(endpoint_set).values()) == {"a"}
    endpoint_set.set_all_leaving(set())
    assert placed(endpoint_set) == before


def test_the_bound_of_a_ring_goes_by_the_endpoints_that_are_left() -> None:
    endpoint_set = set_of(ConsistentHash(bound=1.25, least_load=0))
    endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states[2:]))
    running = [endpoint_set.pick(call(key=key)) for key in range(400)]
    counts = {each.name: each.in_flight for each in endpoint_set.endpoint_states}
    assert counts["memory://c"] == counts["memory://d"] == 0
    assert min(counts["memory://a"], counts["memory://b"]) >= 150
    assert len(running) == 400


def zoned(names: str) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + index)}", zone=name) for index, name in enumerate(names)]


def test_another_zone_for_a_time_is_no_part_of_the_history_of_a_double_jump() -> None:
    endpoint_set = EndpointSet(selector_for(DoubleJump(filters=[zone("x", sound=0.6)])))
    endpoint_set.update(zoned("xxxyy"))
    before = placed(endpoint_set)
    assert set(before.values()) == set("abc")
    endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states[:2]))
    assert set(placed(endpoint_set).values()) == set("cde")
    endpoint_set.set_all_leaving(set())
    assert placed(endpoint_set) == before


def test_a_double_jump_follows_the_list_of_the_registry() -> None:
    endpoint_set, alone = set_of("double_jump"), DoubleJump()
    alone.update(endpoints(4))
    for listed in (endpoints(4)[1:], endpoints(6)[1:], endpoints(6)):
        endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states[:1]))
        endpoint_set.update(listed)
        endpoint_set.set_all_leaving(set())
        alone.update(listed)
        assert placed(endpoint_set) == {key: alone.pick(call(key=key)).address.path for key in KEYS}


@pytest.mark.parametrize("selector", SELECTORS)
def test_a_call_has_a_key_where_the_selector_finds_one(selector: str) -> None:
    endpoint_set = set_of(selector)
    assert endpoint_set.places_keys
    assert endpoint_set.has_key(call(key="ann"))
    assert not endpoint_set.has_key(call())
    argued = call()
    argued.arguments = (1.5,)
    assert endpoint_set.has_key(argued) is (selector != "consistent_hash")


def test_other_selectors_place_no_keys() -> None:
    class Sticky(RoundRobin):
        is_keyed = True

    for selector in (RoundRobin(), Sticky()):
        endpoint_set = set_of(selector)
        assert not endpoint_set.places_keys
        assert not endpoint_set.has_key(call(key="ann"))
        endpoint_set.set_all_leaving(set(endpoint_set.endpoint_states[1:]))
        assert [str(each) for each in endpoint_set.endpoints] == ["memory://a"]

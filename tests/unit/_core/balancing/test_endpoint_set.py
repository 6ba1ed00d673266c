"""The endpoint set: filters, leaving and ejected endpoints, breakers, and the reports of attempts."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Breaker, Outlier
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import (
    CallError,
    CircuitOpenError,
    DecodeError,
    NoEndpointError,
)
from fastrpc.selectors import RoundRobin, selector_for, zone
from fastrpc.selectors.base import selector_names
from fastrpc.status import Status
from tests.support.endpoint_sets import LOST, Clock, attempt, call, endpoint_set_of, endpoints, name, usable


def test_without_endpoints_a_pick_raises_no_endpoint_error() -> None:
    with pytest.raises(NoEndpointError, match=r"arith\.mul: no endpoint serves it"):
        endpoint_set_of(0).pick(call())


def test_filters_that_leave_no_endpoint_are_named() -> None:
    endpoint_set = EndpointSet(RoundRobin(filters=[lambda endpoints, is_sound: []]))
    endpoint_set.update(endpoints(2))
    with pytest.raises(NoEndpointError, match="filters"):
        endpoint_set.pick(call())


@pytest.mark.parametrize("selector", selector_names())
def test_every_selector_serves_a_fleet(selector: str) -> None:
    endpoint_set = EndpointSet(selector_for(selector), breaker=Breaker(), outlier=Outlier())
    endpoint_set.update(endpoints(4))
    counts: Counter[str] = Counter()
    for key in range(400):
        pick = endpoint_set.pick(call(key=key))
        counts[name(pick)] += 1
        pick.ended()
    assert set(counts) == set("abcd")
    assert {endpoint_state.in_flight for endpoint_state in endpoint_set.endpoint_states} == {0}


def test_endpoint_that_stays_keeps_its_link() -> None:
    endpoint_set = endpoint_set_of(3)
    kept = endpoint_set.endpoint_states[0]
    kept.subchannel = "a connection"
    endpoint_set.update(endpoints(1))
    endpoint_set.update([Endpoint("memory://a", weight=3), Endpoint("memory://z")])
    assert endpoint_set.endpoint_states[0] is kept
    assert (kept.subchannel, kept.weight) == ("a connection", 3)


def test_selector_that_makes_keys_is_asked_for_them() -> None:
    endpoint_set = EndpointSet(selector_for("jump_hash"))
    endpoint_set.update(endpoints(5))
    go = SimpleNamespace(method="Arith.Mul", hash_key=None, arguments=(42,))
    assert {name(endpoint_set.pick(go)) for _ in range(5)} == {"e"}


# Leaving


def test_leaving_endpoints_are_left_first() -> None:
    endpoint_set = endpoint_set_of(3)
    endpoint_set.set_leaving(endpoint_set.endpoint_states[0], True)
    assert usable(endpoint_set) == "bc"
    for endpoint_state in endpoint_set.endpoint_states:
        endpoint_set.set_leaving(endpoint_state, True)
    assert usable(endpoint_set) == "abc"
    endpoint_set.set_leaving(endpoint_set.endpoint_states[1], False)
    assert usable(endpoint_set) == "b"


# Ejection


def test_endpoint_that_fails_several_times_in_a_row_is_out_at_once() -> None:
    endpoint_set = endpoint_set_of(4, outlier=Outlier(consecutive=3))
    for _ in range(12):
        attempt(endpoint_set, "b")
    assert usable(endpoint_set) == "acd"


@pytest.mark.parametrize("outlier", [None, Outlier(consecutive=3)])
def test_filter_that_raises_fails_the_pick_and_runs_again(outlier: Outlier | None) -> None:
    def narrow(given: Sequence[Endpoint], is_sound: object) -> Sequence[Endpoint]:
        if faults:
            raise faults.pop()
        return given

    faults: list[Exception] = []
    endpoint_set = EndpointSet(RoundRobin(filters=[narrow]), clock=Clock(), outlier=outlier)
    endpoint_set.update(endpoints(4))
    faults += [KeyError("first"), KeyError("second")]
    if outlier is None:
        with pytest.raises(KeyError, match="second"):
            endpoint_set.set_leaving(endpoint_set.endpoint_states[1], True)
    else:
        for _ in range(12):
            if endpoint_set.endpoint_states[1].health.is_ejected:
                break
            attempt(endpoint_set, "b")
        with pytest.raises(KeyError, match="second"):
            endpoint_set.pick(call())
    with pytest.raises(KeyError, match="first"):
        endpoint_set.pick(call())
    assert {attempt(endpoint_set, "") for _ in range(8)} == {"a", "c", "d"}


def test_ejected_endpoint_returns_after_its_time() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(4, clock=clock, outlier=Outlier(consecutive=1, ejection=5))
    while usable(endpoint_set) == "abcd":
        attempt(endpoint_set, "b")
    clock.now += 4.9
    attempt(endpoint_set, "")
    assert usable(endpoint_set) == "acd"
    clock.now += 1.1
    attempt(endpoint_set, "")
    assert usable(endpoint_set) == "abcd"


def test_placements_compare_the_endpoints_at_intervals() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(4, clock=clock, outlier=Outlier(consecutive=None, interval=1))
    for _ in range(200):
        attempt(endpoint_set, "c")
    assert usable(endpoint_set) == "abcd"
    clock.now += 1
    attempt(endpoint_set, "")
    assert usable(endpoint_set) == "abd"


def test_endpoint_to_which_all_the_long_calls_go_is_not_slow() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(3, clock=clock, outlier=Outlier(interval=10))
    for number in range(1_000):
        # As many methods by turns as there are endpoints: each endpoint gets calls of one method only.
        pick = endpoint_set.pick(call(f"arith.{number % 3}"))
        clock.now += 0.2 if number % 3 == 2 else 0.001
        pick.ended()
    assert usable(endpoint_set) == "abc"


def test_endpoint_slower_than_the_others_is_ejected() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(4, clock=clock, outlier=Outlier(interval=100))
    for number in range(1_000):
        pick = endpoint_set.pick(call("arith.long" if number % 3 == 2 else "arith.short"))
        clock.now += (0.2 if number % 3 == 2 else 0.001) * (20 if name(pick) == "b" else 1)
        pick.ended()
        if usable(endpoint_set) != "abcd":
            break
    assert usable(endpoint_set) == "acd"


def test_below_half_healthy_all_are_used() -> None:
    endpoint_set = endpoint_set_of(5, outlier=Outlier(consecutive=1))
    for _ in range(20):
        attempt(endpoint_set, "ab")
    assert (usable(endpoint_set), endpoint_set.is_panicking) == ("cde", False)
    for _ in range(20):
        attempt(endpoint_set, "cd")
    assert (usable(endpoint_set), endpoint_set.is_panicking) == ("abcde", True)


def test_single_endpoint_is_used_in_spite_of_faults() -> None:
    endpoint_set = endpoint_set_of(1, outlier=Outlier(consecutive=1))
    for _ in range(5):
        assert attempt(endpoint_set, "a") == "a"


# Probes


def probe(endpoint_set: EndpointSet, failing: str, passing: str = "") -> None:
    """Let one probe of each of these endpoints fail or pass; one is enough."""
    for endpoint_state in endpoint_set.endpoint_states:
        where = endpoint_state.endpoint.address.path
        if where in failing:
            endpoint_set.probe_failed(endpoint_state, 1)
        elif where in passing:
            endpoint_set.probe_passed(endpoint_state, 1)


def test_endpoint_that_is_down_gets_no_calls_until_it_is_up() -> None:
    endpoint_set = endpoint_set_of(4)
    probe(endpoint_set, "b")
    assert {attempt(endpoint_set, "") for _ in range(8)} == {"a", "c", "d"}
    probe(endpoint_set, "", "b")
    assert {attempt(endpoint_set, "") for _ in range(8)} == {"a", "b", "c", "d"}


def test_failed_probe_before_the_fall_changes_nothing() -> None:
    endpoint_set = endpoint_set_of(3)
    assert not endpoint_set.probe_failed(endpoint_set.endpoint_states[1], 2)
    assert usable(endpoint_set) == "abc"
    assert endpoint_set.probe_failed(endpoint_set.endpoint_states[1], 2)
    assert usable(endpoint_set) == "ac"


def test_down_and_ejected_endpoints_count_together_against_half_the_fleet() -> None:
    endpoint_set = endpoint_set_of(5, outlier=Outlier(consecutive=1))
    while usable(endpoint_set) == "abcde":
        attempt(endpoint_set, "a")
    probe(endpoint_set, "ab")
    assert (usable(endpoint_set), endpoint_set.is_panicking) == ("cde", False)
    probe(endpoint_set, "c")
    assert (usable(endpoint_set), endpoint_set.is_panicking) == ("abcde", True)
    probe(endpoint_set, "", "b")
    assert (usable(endpoint_set), endpoint_set.is_panicking) == ("bde", False)


def test_endpoint_that_is_down_and_ejected_needs_both_to_end() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(4, clock=clock, outlier=Outlier(consecutive=1, ejection=5))
    while usable(endpoint_set) == "abcd":
        attempt(endpoint_set, "b")
    probe(endpoint_set, "b")
    clock.now += 6
    attempt(endpoint_set, "")
    assert usable(endpoint_set) == "acd"
    probe(endpoint_set, "", "b")
    clock.now += 1
    attempt(endpoint_set, "")
    assert usable(endpoint_set) == "abcd"


def test_filters_see_endpoints_that_are_down() -> None:
    endpoint_set = EndpointSet(RoundRobin(filters=[zone("near")]), clock=Clock())
    endpoint_set.update([Endpoint("memory://a", zone="near"), Endpoint("memory://b", zone="far")])
    assert usable(endpoint_set) == "a"
    probe(endpoint_set, "a")
    assert usable(endpoint_set) == "b"
    probe(endpoint_set, "", "a")
    assert usable(endpoint_set) == "a"


def test_endpoint_that_stays_in_the_list_stays_down() -> None:
    endpoint_set = endpoint_set_of(3)
    probe(endpoint_set, "b")
    endpoint_set.update(endpoints(4))
    assert usable(endpoint_set) == "acd"
    endpoint_set.update([])
    endpoint_set.update(endpoints(3))
    assert usable(endpoint_set) == "abc"


def test_endpoint_that_is_down_is_used_without_any_other() -> None:
    endpoint_set = endpoint_set_of(2)
    probe(endpoint_set, "a")
    endpoint_set.set_leaving(endpoint_set.endpoint_states[1], True)
    assert usable(endpoint_set) == "a"


def test_calls_leave_an_unhealthy_zone_and_return() -> None:
    clock = Clock()
    endpoint_set = EndpointSet(
        RoundRobin(filters=[zone("near", sound=0.7)]), outlier=Outlier(consecutive=1, ejection=5), clock=clock
    )
    endpoint_set.update(
        [Endpoint(f"memory://{each}", zone="near" if each in "abc" else "far") for each in "abcdef"]
    )
    assert {attempt(endpoint_set, "") for _ in range(30)} == set("abc")
    while "a" in usable(endpoint_set):
        attempt(endpoint_set, "a")
    assert {attempt(endpoint_set, "") for _ in range(30)} == set("bcdef")
    clock.now += 6
    attempt(endpoint_set, "")
    assert {attempt(endpoint_set, "") for _ in range(30)} == set("abc")


@pytest.mark.parametrize(
    "error", [CallError(Status.NOT_FOUND), asyncio.CancelledError(), DecodeError("ours")]
)
def test_errors_of_the_caller_do_not_count_as_faults(error: BaseException) -> None:
    endpoint_set = endpoint_set_of(3, breaker=Breaker(consecutive=1), outlier=Outlier(consecutive=1))
    for _ in range(9):
        attempt(endpoint_set, "abc", error)
    assert usable(endpoint_set) == "abc"
    assert endpoint_set.pick(call())


# Breakers


def test_breaker_keeps_calls_of_one_method_from_one_endpoint() -> None:
    endpoint_set = endpoint_set_of(3, breaker=Breaker(consecutive=2))
    for _ in range(9):
        attempt(endpoint_set, "b")
    assert {attempt(endpoint_set, "") for _ in range(9)} == {"a", "c"}
    assert {attempt(endpoint_set, "", method="arith.add") for _ in range(9)} == {"a", "b", "c"}


def test_calls_are_refused_when_breakers_hold_them_back_everywhere() -> None:
    endpoint_set = endpoint_set_of(2, breaker=Breaker(consecutive=1))
    attempt(endpoint_set, "ab")
    attempt(endpoint_set, "ab")
    with pytest.raises(
        CircuitOpenError, match=r"arith\.mul: .* memory://a for 1 s; memory://b for 1 s"
    ) as raised:
        endpoint_set.pick(call())
    assert raised.value.processed == "no"
    assert {endpoint_state.in_flight for endpoint_state in endpoint_set.endpoint_states} == {0}


def test_endpoint_that_was_tried_is_better_than_one_held_back() -> None:
    endpoint_set = endpoint_set_of(2, breaker=Breaker(consecutive=1))
    attempt(endpoint_set, "a")
    attempt(endpoint_set, "a")
    assert name(endpoint_set.pick(call(), endpoints(2)[1:])) == "b"


def test_error_names_a_few_of_the_breakers_of_a_large_fleet() -> None:
    endpoint_set = endpoint_set_of(20, breaker=Breaker(consecutive=1))
    for endpoint_state in endpoint_set.endpoint_states:
        endpoint_set.pick_at(call(), endpoint_state).ended(LOST)
    with pytest.raises(CircuitOpenError, match=r"at memory://a for 1 s; [^;]*; memory://c for 1 s; 17 more"):
        endpoint_set.pick(call())


def test_endpoints_held_back_are_passed_by_at_once() -> None:
    picks: list[int] = []

    class Theirs:
        def update(self, endpoints: Sequence[Endpoint]) -> None:
            self.endpoints = endpoints

        def pick(self, call: Any) -> Endpoint:
            picks.append(len(picks))
            return self.endpoints[len(picks) % len(self.endpoints)]

        def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
            """Learn nothing."""

    endpoint_set = EndpointSet(selector_for(Theirs()), breaker=Breaker(consecutive=1))
    endpoint_set.update(endpoints(20))
    for endpoint_state in endpoint_set.endpoint_states[:-1]:
        endpoint_set.pick_at(call(), endpoint_state).ended(LOST)
    assert {name(endpoint_set.pick(call())) for _ in range(40)} <= set("t")
    endpoint_set.pick_at(call(), endpoint_set.endpoint_states[-1]).ended(LOST)
    picks.clear()
    with pytest.raises(CircuitOpenError):
        endpoint_set.pick(call())
    assert len(picks) == 1


def test_one_probe_finds_out_whether_the_endpoint_is_well_again() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(2, clock=clock, breaker=Breaker(consecutive=1, open_seconds=1))
    attempt(endpoint_set, "a")
    attempt(endpoint_set, "a")
    clock.now += 1
    under_way = [endpoint_set.pick(call()) for _ in range(1_000)]
    assert sum(name(pick) == "a" for pick in under_way) == 1
    for pick in under_way:
        pick.ended()
    assert {attempt(endpoint_set, "") for _ in range(4)} == {"a", "b"}


def test_dropped_probe_makes_room_for_another() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(1, clock=clock, breaker=Breaker(consecutive=1, open_seconds=1))
    attempt(endpoint_set, "a")
    clock.now += 1
    endpoint_set.pick(call()).dropped()
    cancelled = endpoint_set.pick(call())
    cancelled.ended(asyncio.CancelledError())
    assert name(endpoint_set.pick(call())) == "a"


def test_call_from_before_the_first_fault_counts_for_the_breaker() -> None:
    endpoint_set = endpoint_set_of(1, breaker=Breaker(consecutive=2))
    first, second = endpoint_set.pick(call()), endpoint_set.pick(call())
    first.ended(LOST)
    second.ended(LOST)
    with pytest.raises(CircuitOpenError):
        endpoint_set.pick(call())


def test_call_from_the_time_of_an_earlier_breaker_does_not_count_for_the_next_one() -> None:
    clock = Clock()
    endpoint_set = endpoint_set_of(1, clock=clock, breaker=Breaker(consecutive=2, window=1))
    endpoint_set.pick(call()).ended(LOST)
    long = endpoint_set.pick(call())
    clock.now += 2
    # Nothing is held against the endpoint any more: the breaker goes, and the next fault makes another.
    endpoint_set.pick(call()).ended()
    endpoint_set.pick(call()).ended(LOST)
    long.ended(LOST)
    assert name(endpoint_set.pick(call())) == "a"


def test_a_preferred_endpoint_that_was_tried_is_not_preferred_again_with_another_record() -> None:
    fleet = EndpointSet(selector_for("round_robin"))
    before, after = (Endpoint("memory://a", weight=weight) for weight in (1, 5))
    other = Endpoint("memory://b")
    fleet.update([before, other])
    assert fleet.pick_preferred(call(), "memory://a") is not None
    fleet.update([after, other])
    assert fleet.pick_preferred(call(), "memory://a", [before]) is None
    assert fleet.pick_preferred(call(), "memory://a", [other]) is not None


@pytest.mark.parametrize("selector", ["consistent_hash", "jump_hash"])
def test_a_key_has_its_place_however_the_addresses_are_written(selector: str) -> None:
    placed = []
    for scheme in ("grpc", "tcp"):
        fleet = EndpointSet(selector_for(selector))
        fleet.update([Endpoint(Address.parse(f"{scheme}://10.0.0.{one}:80").dialed()) for one in range(8)])
        placed.append([fleet.pick(call(key=key)).endpoint for key in range(64)])
    assert placed[0] == placed[1]

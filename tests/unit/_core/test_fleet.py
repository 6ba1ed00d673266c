"""The fleet: filters, leaving and ejected endpoints, breakers, and what attempts tell of them."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.fleet import Fleet
from fastrpc.config import Breaker, Outlier
from fastrpc.endpoint import Endpoint
from fastrpc.errors import (
    CallError,
    CircuitOpenError,
    DecodeError,
    NoEndpointError,
)
from fastrpc.selectors import RoundRobin, selector_for, zone
from fastrpc.selectors.base import selector_names
from fastrpc.status import Status
from tests.support.fleets import LOST, Clock, attempt, call, endpoints, fleet_of, name, usable


def test_without_endpoints_nobody_serves_it() -> None:
    with pytest.raises(NoEndpointError, match=r"arith\.mul: nobody serves it"):
        fleet_of(0).pick(call())


def test_filters_that_leave_nothing_are_named() -> None:
    fleet = Fleet(RoundRobin(filters=[lambda endpoints, is_sound: []]))
    fleet.update(endpoints(2))
    with pytest.raises(NoEndpointError, match="filters"):
        fleet.pick(call())


@pytest.mark.parametrize("selector", selector_names())
def test_every_selector_serves_a_fleet(selector: str) -> None:
    fleet = Fleet(selector_for(selector), breaker=Breaker(), outlier=Outlier())
    fleet.update(endpoints(4))
    counts: Counter[str] = Counter()
    for key in range(400):
        placement = fleet.pick(call(key=key))
        counts[name(placement)] += 1
        placement.ended()
    assert set(counts) == set("abcd")
    assert {candidate.in_flight for candidate in fleet.candidates} == {0}


def test_endpoint_that_stays_keeps_its_link() -> None:
    fleet = fleet_of(3)
    kept = fleet.candidates[0]
    kept.link = "a connection"
    fleet.update(endpoints(1))
    fleet.update([Endpoint("memory://a", weight=3), Endpoint("memory://z")])
    assert fleet.candidates[0] is kept
    assert (kept.link, kept.weight) == ("a connection", 3)


def test_selector_that_makes_keys_is_asked_for_them() -> None:
    fleet = Fleet(selector_for("jump_hash"))
    fleet.update(endpoints(5))
    go = SimpleNamespace(method="Arith.Mul", hash_key=None, arguments=(42,))
    assert {name(fleet.pick(go)) for _ in range(5)} == {"e"}


# Leaving


def test_leaving_endpoints_are_left_first() -> None:
    fleet = fleet_of(3)
    fleet.set_leaving(fleet.candidates[0], True)
    assert usable(fleet) == "bc"
    for candidate in fleet.candidates:
        fleet.set_leaving(candidate, True)
    assert usable(fleet) == "abc"
    fleet.set_leaving(fleet.candidates[1], False)
    assert usable(fleet) == "b"


# Ejection


def test_endpoint_that_fails_several_times_in_a_row_is_out_at_once() -> None:
    fleet = fleet_of(4, outlier=Outlier(consecutive=3))
    for _ in range(12):
        attempt(fleet, "b")
    assert usable(fleet) == "acd"


@pytest.mark.parametrize("outlier", [None, Outlier(consecutive=3)])
def test_filter_that_raises_fails_the_pick_and_is_asked_again(outlier: Outlier | None) -> None:
    def narrow(given: Sequence[Endpoint], is_sound: object) -> Sequence[Endpoint]:
        if faults:
            raise faults.pop()
        return given

    faults: list[Exception] = []
    fleet = Fleet(RoundRobin(filters=[narrow]), clock=Clock(), outlier=outlier)
    fleet.update(endpoints(4))
    faults += [KeyError("first"), KeyError("second")]
    if outlier is None:
        with pytest.raises(KeyError, match="second"):
            fleet.set_leaving(fleet.candidates[1], True)
    else:
        for _ in range(12):
            if fleet.candidates[1].health.is_ejected:
                break
            attempt(fleet, "b")
        with pytest.raises(KeyError, match="second"):
            fleet.pick(call())
    with pytest.raises(KeyError, match="first"):
        fleet.pick(call())
    assert {attempt(fleet, "") for _ in range(8)} == {"a", "c", "d"}


def test_ejected_endpoint_returns_after_its_time() -> None:
    clock = Clock()
    fleet = fleet_of(4, clock=clock, outlier=Outlier(consecutive=1, ejection=5))
    while usable(fleet) == "abcd":
        attempt(fleet, "b")
    clock.now += 4.9
    attempt(fleet, "")
    assert usable(fleet) == "acd"
    clock.now += 1.1
    attempt(fleet, "")
    assert usable(fleet) == "abcd"


def test_placements_compare_the_endpoints_at_intervals() -> None:
    clock = Clock()
    fleet = fleet_of(4, clock=clock, outlier=Outlier(consecutive=None, interval=1))
    for _ in range(200):
        attempt(fleet, "c")
    assert usable(fleet) == "abcd"
    clock.now += 1
    attempt(fleet, "")
    assert usable(fleet) == "abd"


def test_endpoint_to_which_all_the_long_calls_go_is_not_slow() -> None:
    clock = Clock()
    fleet = fleet_of(3, clock=clock, outlier=Outlier(interval=10))
    for number in range(1_000):
        # As many methods in turn as there are endpoints: each gets calls of one method alone.
        placement = fleet.pick(call(f"arith.{number % 3}"))
        clock.now += 0.2 if number % 3 == 2 else 0.001
        placement.ended()
    assert usable(fleet) == "abc"


def test_endpoint_that_is_slow_for_what_others_do_fast_is_out() -> None:
    clock = Clock()
    fleet = fleet_of(4, clock=clock, outlier=Outlier(interval=100))
    for number in range(1_000):
        placement = fleet.pick(call("arith.long" if number % 3 == 2 else "arith.short"))
        clock.now += (0.2 if number % 3 == 2 else 0.001) * (20 if name(placement) == "b" else 1)
        placement.ended()
        if usable(fleet) != "abcd":
            break
    assert usable(fleet) == "acd"


def test_below_half_healthy_all_are_used() -> None:
    fleet = fleet_of(5, outlier=Outlier(consecutive=1))
    for _ in range(20):
        attempt(fleet, "ab")
    assert (usable(fleet), fleet.is_panicking) == ("cde", False)
    for _ in range(20):
        attempt(fleet, "cd")
    assert (usable(fleet), fleet.is_panicking) == ("abcde", True)


def test_single_endpoint_is_used_whatever_it_does() -> None:
    fleet = fleet_of(1, outlier=Outlier(consecutive=1))
    for _ in range(5):
        assert attempt(fleet, "a") == "a"


# Probes


def probe(fleet: Fleet, failing: str, passing: str = "") -> None:
    """Let one probe of each of these endpoints fail or pass; one is enough."""
    for candidate in fleet.candidates:
        where = candidate.endpoint.address.path
        if where in failing:
            fleet.probe_failed(candidate, 1)
        elif where in passing:
            fleet.probe_passed(candidate, 1)


def test_endpoint_that_is_down_gets_no_calls_until_it_is_up() -> None:
    fleet = fleet_of(4)
    probe(fleet, "b")
    assert {attempt(fleet, "") for _ in range(8)} == {"a", "c", "d"}
    probe(fleet, "", "b")
    assert {attempt(fleet, "") for _ in range(8)} == {"a", "b", "c", "d"}


def test_failed_probe_before_the_fall_changes_nothing() -> None:
    fleet = fleet_of(3)
    assert not fleet.probe_failed(fleet.candidates[1], 2)
    assert usable(fleet) == "abc"
    assert fleet.probe_failed(fleet.candidates[1], 2)
    assert usable(fleet) == "ac"


def test_down_and_ejected_endpoints_count_together_against_half_the_fleet() -> None:
    fleet = fleet_of(5, outlier=Outlier(consecutive=1))
    while usable(fleet) == "abcde":
        attempt(fleet, "a")
    probe(fleet, "ab")
    assert (usable(fleet), fleet.is_panicking) == ("cde", False)
    probe(fleet, "c")
    assert (usable(fleet), fleet.is_panicking) == ("abcde", True)
    probe(fleet, "", "b")
    assert (usable(fleet), fleet.is_panicking) == ("bde", False)


def test_endpoint_that_is_down_and_ejected_needs_both_to_end() -> None:
    clock = Clock()
    fleet = fleet_of(4, clock=clock, outlier=Outlier(consecutive=1, ejection=5))
    while usable(fleet) == "abcd":
        attempt(fleet, "b")
    probe(fleet, "b")
    clock.now += 6
    attempt(fleet, "")
    assert usable(fleet) == "acd"
    probe(fleet, "", "b")
    clock.now += 1
    attempt(fleet, "")
    assert usable(fleet) == "abcd"


def test_filters_see_who_is_down() -> None:
    fleet = Fleet(RoundRobin(filters=[zone("near")]), clock=Clock())
    fleet.update([Endpoint("memory://a", zone="near"), Endpoint("memory://b", zone="far")])
    assert usable(fleet) == "a"
    probe(fleet, "a")
    assert usable(fleet) == "b"
    probe(fleet, "", "a")
    assert usable(fleet) == "a"


def test_endpoint_that_stays_in_the_list_stays_down() -> None:
    fleet = fleet_of(3)
    probe(fleet, "b")
    fleet.update(endpoints(4))
    assert usable(fleet) == "acd"
    fleet.update([])
    fleet.update(endpoints(3))
    assert usable(fleet) == "abc"


def test_endpoint_that_is_down_is_used_where_no_other_is_at_hand() -> None:
    fleet = fleet_of(2)
    probe(fleet, "a")
    fleet.set_leaving(fleet.candidates[1], True)
    assert usable(fleet) == "a"


def test_calls_leave_a_zone_that_is_not_sound_and_come_back() -> None:
    clock = Clock()
    fleet = Fleet(
        RoundRobin(filters=[zone("near", sound=0.7)]), outlier=Outlier(consecutive=1, ejection=5), clock=clock
    )
    fleet.update([Endpoint(f"memory://{each}", zone="near" if each in "abc" else "far") for each in "abcdef"])
    assert {attempt(fleet, "") for _ in range(30)} == set("abc")
    while "a" in usable(fleet):
        attempt(fleet, "a")
    assert {attempt(fleet, "") for _ in range(30)} == set("bcdef")
    clock.now += 6
    attempt(fleet, "")
    assert {attempt(fleet, "") for _ in range(30)} == set("abc")


@pytest.mark.parametrize(
    "error", [CallError(Status.NOT_FOUND), asyncio.CancelledError(), DecodeError("ours")]
)
def test_what_does_not_speak_against_the_endpoint_does_no_harm(error: BaseException) -> None:
    fleet = fleet_of(3, breaker=Breaker(consecutive=1), outlier=Outlier(consecutive=1))
    for _ in range(9):
        attempt(fleet, "abc", error)
    assert usable(fleet) == "abc"
    assert fleet.pick(call())


# Breakers


def test_breaker_keeps_calls_of_one_method_from_one_endpoint() -> None:
    fleet = fleet_of(3, breaker=Breaker(consecutive=2))
    for _ in range(9):
        attempt(fleet, "b")
    assert {attempt(fleet, "") for _ in range(9)} == {"a", "c"}
    assert {attempt(fleet, "", method="arith.add") for _ in range(9)} == {"a", "b", "c"}


def test_calls_are_refused_when_breakers_hold_them_back_everywhere() -> None:
    fleet = fleet_of(2, breaker=Breaker(consecutive=1))
    attempt(fleet, "ab")
    attempt(fleet, "ab")
    with pytest.raises(
        CircuitOpenError, match=r"arith\.mul: .* memory://a for 1 s; memory://b for 1 s"
    ) as raised:
        fleet.pick(call())
    assert raised.value.processed == "no"
    assert {candidate.in_flight for candidate in fleet.candidates} == {0}


def test_endpoint_that_was_tried_is_better_than_one_held_back() -> None:
    fleet = fleet_of(2, breaker=Breaker(consecutive=1))
    attempt(fleet, "a")
    attempt(fleet, "a")
    assert name(fleet.pick(call(), endpoints(2)[1:])) == "b"


def test_error_names_a_few_of_the_breakers_of_a_large_fleet() -> None:
    fleet = fleet_of(20, breaker=Breaker(consecutive=1))
    for candidate in fleet.candidates:
        fleet.pick_at(call(), candidate).ended(LOST)
    with pytest.raises(CircuitOpenError, match=r"at memory://a for 1 s; [^;]*; memory://c for 1 s; 17 more"):
        fleet.pick(call())


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

    fleet = Fleet(selector_for(Theirs()), breaker=Breaker(consecutive=1))
    fleet.update(endpoints(20))
    for candidate in fleet.candidates[:-1]:
        fleet.pick_at(call(), candidate).ended(LOST)
    assert {name(fleet.pick(call())) for _ in range(40)} <= set("t")
    fleet.pick_at(call(), fleet.candidates[-1]).ended(LOST)
    picks.clear()
    with pytest.raises(CircuitOpenError):
        fleet.pick(call())
    assert len(picks) == 1


def test_one_probe_finds_out_whether_the_endpoint_is_well_again() -> None:
    clock = Clock()
    fleet = fleet_of(2, clock=clock, breaker=Breaker(consecutive=1, open_seconds=1))
    attempt(fleet, "a")
    attempt(fleet, "a")
    clock.now += 1
    under_way = [fleet.pick(call()) for _ in range(1_000)]
    assert sum(name(placement) == "a" for placement in under_way) == 1
    for placement in under_way:
        placement.ended()
    assert {attempt(fleet, "") for _ in range(4)} == {"a", "b"}


def test_dropped_probe_makes_room_for_another() -> None:
    clock = Clock()
    fleet = fleet_of(1, clock=clock, breaker=Breaker(consecutive=1, open_seconds=1))
    attempt(fleet, "a")
    clock.now += 1
    fleet.pick(call()).dropped()
    cancelled = fleet.pick(call())
    cancelled.ended(asyncio.CancelledError())
    assert name(fleet.pick(call())) == "a"


def test_call_from_before_the_first_fault_counts_for_the_breaker() -> None:
    fleet = fleet_of(1, breaker=Breaker(consecutive=2))
    first, second = fleet.pick(call()), fleet.pick(call())
    first.ended(LOST)
    second.ended(LOST)
    with pytest.raises(CircuitOpenError):
        fleet.pick(call())


def test_call_from_the_time_of_an_earlier_breaker_does_not_count_for_the_next_one() -> None:
    clock = Clock()
    fleet = fleet_of(1, clock=clock, breaker=Breaker(consecutive=2, window=1))
    fleet.pick(call()).ended(LOST)
    long = fleet.pick(call())
    clock.now += 2
    # Nothing is held against the endpoint any more: the breaker goes, and the next fault makes another.
    fleet.pick(call()).ended()
    fleet.pick(call()).ended(LOST)
    long.ended(LOST)
    assert name(fleet.pick(call())) == "a"

"""The counts of an endpoint set: attempts under way, probes, marks. None of them may be lost or counted twice."""

import contextlib
import gc
import itertools
import random
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet, Pick
from fastrpc._core.balancing.key_selectors import ConsistentHashSelector
from fastrpc.config import Breaker
from fastrpc.endpoint import Address, Endpoint
from fastrpc.errors import ConnectionLostError, NoEndpointError
from fastrpc.selectors import (
    ConsistentHash,
    DoubleJump,
    JumpHash,
    LeastLoaded,
    Random,
    RoundRobin,
    SmoothWeighted,
    selector_for,
)


def call(key: object = None) -> SimpleNamespace:
    return SimpleNamespace(method="arith.mul", hash_key=key, arguments=())


def endpoints(*ports: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.0.1:{port}", weight=port % 7 + 1) for port in ports]


def hashed(*ports: int) -> EndpointSet:
    endpoint_set = EndpointSet(selector_for("consistent_hash"))
    endpoint_set.update(endpoints(*ports))
    return endpoint_set


def loads(endpoint_set: EndpointSet) -> dict[str, int]:
    """Return the ring's count of each endpoint."""
    selector = endpoint_set.selector
    assert isinstance(selector, ConsistentHashSelector)
    return {each.name: selector.ring.load(each.name) for each in endpoint_set.endpoint_states}


def in_flight(endpoint_set: EndpointSet) -> dict[str, int]:
    return {each.name: each.in_flight for each in endpoint_set.endpoint_states}


def test_pinned_attempts_count_for_the_bound_as_well() -> None:
    endpoint_set = hashed(1)
    keyed = [endpoint_set.pick(call("key")) for _ in range(5)]
    endpoint_set.pick_at(call(), endpoint_set.endpoint_states[0]).ended()
    assert loads(endpoint_set) == {"tcp://10.0.0.1:1": 5}
    for pick in keyed:
        pick.ended()
    assert loads(endpoint_set) == {"tcp://10.0.0.1:1": 0}


def test_endpoint_that_returns_keeps_its_calls_in_flight() -> None:
    endpoint_set = hashed(1, 2)
    running = [endpoint_set.pick_at(call(), endpoint_set.endpoint_states[0]) for _ in range(3)]
    endpoint_set.set_leaving(endpoint_set.endpoint_states[0], True)
    endpoint_set.set_leaving(endpoint_set.endpoint_states[0], False)
    assert loads(endpoint_set)["tcp://10.0.0.1:1"] == 3
    for pick in running:
        pick.ended()
    assert set(loads(endpoint_set).values()) == {0}


@pytest.mark.parametrize("seed", range(5))
def test_the_ring_counts_calls_in_flight_after_any_history(seed: int) -> None:
    chance = random.Random(seed)
    endpoint_set = hashed(*range(1, 9))
    running: list[Pick] = []
    for _ in range(2_000):
        step = chance.random()
        if step < 0.45:
            tried = [each.endpoint for each in chance.sample(running, min(len(running), 2))]
            running.append(endpoint_set.pick(call(chance.randrange(50)), tried))
        elif step < 0.6:
            running.append(endpoint_set.pick_at(call(), chance.choice(endpoint_set.endpoint_states)))
        elif step < 0.9 and running:
            pick = running.pop(chance.randrange(len(running)))
            chance.choice([pick.ended, pick.dropped])()
        elif step < 0.95:
            endpoint_set.set_leaving(chance.choice(endpoint_set.endpoint_states), chance.random() < 0.5)
        else:
            endpoint_set.update(endpoints(*chance.sample(range(1, 9), chance.randrange(1, 8))))
        listed = {str(endpoint) for endpoint in endpoint_set.endpoints}
        counted = loads(endpoint_set)
        assert {name: count for name, count in in_flight(endpoint_set).items() if name in listed} == {
            name: count for name, count in counted.items() if name in listed
        }
    assert isinstance(endpoint_set.selector, ConsistentHashSelector)
    assert endpoint_set.selector.ring.total_load == sum(loads(endpoint_set).values())


class Complaining:
    """A selector of a program that fails when it gets the outcomes of attempts."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind
        self.endpoints: list[Endpoint] = []

    def update(self, endpoints: Any) -> None:
        self.endpoints = list(endpoints)

    def pick(self, call: Any) -> Endpoint:
        return self.endpoints[0]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        raise self.kind("no such endpoint")


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt])
def test_selector_that_raises_from_observe_keeps_no_probe(kind: type[BaseException]) -> None:
    # An exception is logged, Ctrl-C propagates.
    raised: Any = contextlib.nullcontext if kind is LookupError else partial(pytest.raises, kind)
    now = [100.0]
    breaker = Breaker(consecutive=1, open_seconds=1.0)
    endpoint_set = EndpointSet(selector_for(Complaining(kind)), breaker=breaker, clock=lambda: now[0])
    endpoint_set.update(endpoints(1))
    with raised():
        endpoint_set.pick(call()).ended(ConnectionLostError("gone"))
    now[0] += 10.0
    for take_back in (Pick.dropped, Pick.undone, Pick.dropped):
        probe = endpoint_set.pick(call())
        with raised():
            take_back(probe)
    assert endpoint_set.endpoint_states[0].in_flight == 0


def test_exceptions_of_observe_are_logged_once_a_minute_with_their_number(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr("fastrpc.selectors.base.time", SimpleNamespace(monotonic=lambda: now[0]))
    endpoint_set = EndpointSet(selector_for(Complaining(LookupError)))
    endpoint_set.update(endpoints(1))
    for passed in (0, 1, 58, 1, 1):
        now[0] += passed
        endpoint_set.pick(call()).ended(None)
    assert [record.args for record in caplog.records] == [("Complaining", 1), ("Complaining", 3)]


class Interrupting(Address):
    """An address that Ctrl-C hits while it is looked at."""

    __slots__ = ()

    asked = 0
    raises_at = 0

    @property
    def place(self) -> str:
        Interrupting.asked += 1
        if Interrupting.asked == Interrupting.raises_at:
            raise KeyboardInterrupt
        return "tcp://10.0.0.9:9"


@pytest.mark.parametrize("raises_at", [1, 2])
@pytest.mark.parametrize("selector", [ConsistentHash, RoundRobin])
def test_interrupted_pick_leaves_no_marks(selector: Any, raises_at: int) -> None:
    strange = Endpoint("tcp://10.0.0.9:9")
    strange.address = Interrupting("tcp", host="10.0.0.9", port=9)
    endpoint_set = EndpointSet(selector_for(selector()))
    endpoint_set.update(endpoints(1, 2))
    owner = endpoint_set.pick(call("key")).endpoint
    Interrupting.asked, Interrupting.raises_at = 0, raises_at
    with contextlib.suppress(KeyboardInterrupt):
        endpoint_set.pick(call("key"), [owner, strange])
    Interrupting.raises_at = 0
    others = {endpoint_set.pick(call("key"), []).endpoint for _ in range(2)}
    assert owner in others
    assert (
        endpoint_set.pick(
            call("key"), [each.endpoint for each in endpoint_set.endpoint_states if each.endpoint != owner]
        ).endpoint
        == owner
    )


class Shrinking(Address):
    """An address while whose text is made the registry takes endpoints away, as another thread could."""

    __slots__ = ()

    asked = 0
    acts_at = 0
    endpoint_set: EndpointSet
    left: list[Endpoint]

    @property
    def place(self) -> str:
        Shrinking.asked += 1
        if Shrinking.asked == Shrinking.acts_at:
            Shrinking.endpoint_set.update(Shrinking.left)
        return "tcp://10.0.0.9:9"


@pytest.mark.parametrize(
    "kind", [ConsistentHash, DoubleJump, JumpHash, LeastLoaded, Random, RoundRobin, SmoothWeighted]
)
def test_a_pick_during_which_endpoints_go_names_one_there_was(kind: Any) -> None:
    strange = Endpoint("tcp://10.0.0.9:9")
    strange.address = Shrinking("tcp", host="10.0.0.9", port=9)
    for acts_at, left, number in itertools.product((1, 2, 3, 4), (0, 1), range(20)):
        endpoint_set = EndpointSet(selector_for(kind()))
        there = endpoints(*range(1, 41))
        endpoint_set.update(there)
        Shrinking.endpoint_set, Shrinking.left = endpoint_set, there[:left]
        Shrinking.asked, Shrinking.acts_at = 0, acts_at
        with contextlib.suppress(NoEndpointError):
            pick = endpoint_set.pick(call(number), [there[0], strange])
            assert pick.endpoint in there
            pick.ended()
        assert {each.in_flight for each in endpoint_set.endpoint_states} <= {0}


class Nested(Address):
    """An address that makes another pick while it is looked at, as another thread could."""

    __slots__ = ()

    endpoint_set: EndpointSet
    avoiding: Endpoint
    asked = 0

    @property
    def place(self) -> str:
        Nested.asked += 1
        # The first one only looks for it; with the second one the other endpoint is avoided already.
        if Nested.asked == 2:
            Nested.endpoint_set.pick(call("key"), [Nested.avoiding])
        return "tcp://10.0.0.9:9"


@pytest.mark.parametrize("selector", [ConsistentHash, RoundRobin, LeastLoaded])
def test_picks_at_the_same_time_that_avoid_different_endpoints_all_find_one(selector: Any) -> None:
    first, second = endpoints(1, 2)
    strange = Endpoint("tcp://10.0.0.9:9")
    strange.address = Nested("tcp", host="10.0.0.9", port=9)
    Nested.endpoint_set, Nested.avoiding, Nested.asked = EndpointSet(selector_for(selector())), second, 0
    Nested.endpoint_set.update([first, second])
    assert Nested.endpoint_set.pick(call("key"), [first, strange]).endpoint in (first, second)
    assert Nested.asked >= 2


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="since then no allocation starts the garbage collection"
)
@pytest.mark.parametrize(
    "selector", [ConsistentHash, DoubleJump, JumpHash, LeastLoaded, Random, RoundRobin, SmoothWeighted]
)
def test_finalizer_that_makes_calls_never_meets_half_an_update(selector: Any) -> None:
    large, small = endpoints(*range(1, 301)), endpoints(1, 2, 3)
    thresholds: list[int] = []
    picked: set[Endpoint] = set()

    class Finalized:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            for key in range(50):
                pick = endpoint_set.pick(call(str(key)))
                picked.add(pick.endpoint)
                pick.ended()

    def narrow(endpoints: Any, is_sound: Any) -> Any:
        if thresholds:
            Finalized()
            gc.set_threshold(thresholds[-1], 100, 100)
        return endpoints

    endpoint_set = EndpointSet(selector_for(selector(filters=[narrow])))
    endpoint_set.update(small)
    before = gc.get_threshold()
    # The existing objects need not be scanned each time. They stay frozen: the tests after this one would have the
    # collector look at all collected tests again.
    gc.collect()
    gc.freeze()
    try:
        for number in range(1, 80):
            thresholds.append(number)
            for one in (small, large, small, large[5:9]):
                endpoint_set.update(one)
    finally:
        thresholds.clear()
        gc.set_threshold(*before)
    assert picked
    assert picked <= set(large)

"""The endpoint set: picks that end, are dropped or thrown away, and threads that change it meanwhile."""

import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Breaker, Outlier
from fastrpc.endpoint import Endpoint
from fastrpc.errors import UnavailableError
from fastrpc.selectors import RoundRobin, selector_for
from tests.support.endpoint_sets import LOST, attempt, call, endpoint_set_of, endpoints, usable

# Several threads


class Slow:
    """A filter that lets other threads run when a certain thread asks it."""

    def __init__(self) -> None:
        self.slow_thread: threading.Thread | None = None
        self.is_asked = threading.Event()
        self.may_answer = threading.Event()

    def __call__(self, given: Sequence[Endpoint], sound: Any) -> list[Endpoint]:
        left = [each for each in given if sound(each)]
        if threading.current_thread() is self.slow_thread and not self.is_asked.is_set():
            self.is_asked.set()
            self.may_answer.wait(20)
        return left


@pytest.mark.parametrize("change", ["list", "connection"])
def test_changes_of_another_thread_during_filters_are_kept(change: str) -> None:
    slow = Slow()
    endpoint_set = EndpointSet(RoundRobin(filters=[slow]))
    endpoint_set.update(endpoints(3))
    endpoint_set.set_leaving(endpoint_set.endpoint_states[2], True)
    endpoint_set.set_leaving(endpoint_set.endpoint_states[1], True)
    with ThreadPoolExecutor(1) as pool:

        def leave() -> None:
            slow.slow_thread = threading.current_thread()
            endpoint_set.set_leaving(endpoint_set.endpoint_states[0], True)

        asked = pool.submit(leave)
        assert slow.is_asked.wait(20)
        if change == "list":
            endpoint_set.update([*endpoints(3)[1:], Endpoint("memory://z")])
        else:
            endpoint_set.set_leaving(endpoint_set.endpoint_states[1], False)
        slow.may_answer.set()
        asked.result(20)
    assert usable(endpoint_set) == ("z" if change == "list" else "b")


# Picks


def test_placement_ends_once() -> None:
    endpoint_set = endpoint_set_of(1)
    pick, other = endpoint_set.pick(call()), endpoint_set.pick(call())
    pick.ended()
    pick.ended(LOST)
    pick.dropped()
    assert endpoint_set.endpoint_states[0].in_flight == 1
    other.dropped()
    assert endpoint_set.endpoint_states[0].in_flight == 0


def test_discarded_pick_holds_no_slot() -> None:
    endpoint_set = endpoint_set_of(1)
    pick = endpoint_set.pick(call())
    del pick
    gc.collect()
    assert endpoint_set.endpoint_states[0].in_flight == 0


def test_placement_of_an_endpoint_that_went_ends_all_the_same() -> None:
    endpoint_set = endpoint_set_of(2, breaker=Breaker(consecutive=1), outlier=Outlier(consecutive=1))
    under_way = [endpoint_set.pick(call()) for _ in range(4)]
    endpoint_set.update([Endpoint("memory://z")])
    for pick in under_way:
        pick.ended(LOST)
    assert attempt(endpoint_set, "") == "z"


def test_user_defined_selector_observes_picks_that_led_to_no_attempt() -> None:
    class Theirs:
        under_way = 0

        def update(self, endpoints: Sequence[Endpoint]) -> None:
            self.endpoints = endpoints

        def pick(self, call: Any) -> Endpoint:
            self.under_way += 1
            return self.endpoints[self.under_way % len(self.endpoints)]

        def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
            self.under_way -= 1
            assert error is None or isinstance(error, UnavailableError)

    theirs = Theirs()
    endpoint_set = EndpointSet(selector_for(theirs), breaker=Breaker(consecutive=1))
    endpoint_set.update(endpoints(2))
    for _ in range(20):
        attempt(endpoint_set, "a")
    endpoint_set.pick(call()).dropped()
    assert theirs.under_way == 0

"""What holds for every selector, also for one of the user's own."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastrpc._core.balancing.selectors import BaseSelector
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, NoEndpointError
from fastrpc.selectors import RoundRobin, selector_for
from fastrpc.selectors.base import selector_names


class Theirs:
    """A selector as a user would write it: always the first endpoint, then the second …"""

    def __init__(self) -> None:
        self.endpoints: Sequence[Endpoint] = ()
        self.turn = 0
        self.observed: list[tuple[Endpoint, float, Exception | None]] = []

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        self.endpoints = endpoints

    def pick(self, call: Any) -> Endpoint:
        self.turn += 1
        return self.endpoints[self.turn % len(self.endpoints)]

    def observe(self, endpoint: Endpoint, seconds: float, error: Exception | None) -> None:
        self.observed.append((endpoint, seconds, error))


class Keyed(SimpleNamespace):
    """A call, as far as selectors look at it."""

    hash_key: str | bytes | int | None = None
    method = "arith.mul"
    arguments = ()


MAKERS: dict[str, Callable[[], BaseSelector]] = {
    **{name: lambda name=name: selector_for(name) for name in selector_names()},  # type: ignore[misc]
    "user": lambda: selector_for(Theirs()),
}


@pytest.fixture(params=MAKERS)
def selector(request: pytest.FixtureRequest) -> BaseSelector:
    return MAKERS[request.param]()


def endpoint_set(size: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.0.{number}:8972") for number in range(1, size + 1)]


def test_without_endpoints_there_is_no_pick(selector: BaseSelector) -> None:
    for endpoints in ((), endpoint_set(2), ()):
        selector.update(endpoints)
        if not endpoints:
            with pytest.raises(NoEndpointError):
                selector.pick(Keyed())


def test_one_endpoint_takes_every_call(selector: BaseSelector) -> None:
    endpoints = endpoint_set(1)
    selector.update(endpoints)
    assert {id(selector.pick(Keyed(hash_key=key))) for key in range(20)} == {id(endpoints[0])}


def test_every_endpoint_gets_calls(selector: BaseSelector) -> None:
    endpoints = endpoint_set(5)
    selector.update(endpoints)
    counts: Counter[Endpoint] = Counter()
    for key in range(500):
        picked = selector.pick(Keyed(hash_key=key))
        selector.observe(picked, 0.001, None)
        counts[picked] += 1
    assert set(counts) == set(endpoints)
    assert min(counts.values()) > 25


def test_calls_without_a_key_are_spread(selector: BaseSelector) -> None:
    selector.update(endpoint_set(3))
    picked = [selector.pick(Keyed()) for _ in range(60)]
    assert len(set(picked)) == 3


def test_endpoint_that_was_tried_is_left_out(selector: BaseSelector) -> None:
    endpoints = endpoint_set(3)
    selector.update(endpoints)
    for key in range(50):
        tried = [selector.pick(Keyed(hash_key=key))]
        tried.append(selector.pick(Keyed(hash_key=key), tried))
        tried.append(selector.pick(Keyed(hash_key=key), tried))
        assert len(set(tried)) == 3
        # All were tried: then any of them will do.
        assert selector.pick(Keyed(hash_key=key), tried) in endpoints


def test_endpoint_that_went_is_not_picked(selector: BaseSelector) -> None:
    endpoints = endpoint_set(4)
    selector.update(endpoints)
    selector.update(endpoints[:2])
    assert {selector.pick(Keyed(hash_key=key)) for key in range(50)} <= set(endpoints[:2])


def test_endpoint_of_weight_0_is_not_picked(selector: BaseSelector) -> None:
    endpoints = [Endpoint("tcp://a:1", weight=0), Endpoint("tcp://b:1", weight=2), Endpoint("tcp://c:1")]
    selector.update(endpoints)
    assert {selector.pick(Keyed(hash_key=key)) for key in range(50)} <= set(endpoints[1:])


def test_endpoints_that_all_have_weight_0_are_picked(selector: BaseSelector) -> None:
    endpoints = [Endpoint("tcp://a:1", weight=0), Endpoint("tcp://b:1", weight=0)]
    selector.update(endpoints)
    assert {selector.pick(Keyed(hash_key=key)) for key in range(50)} == set(endpoints)


def test_address_that_comes_twice_counts_once(selector: BaseSelector) -> None:
    selector.update([*endpoint_set(2), *endpoint_set(2)])
    assert len(selector) == 2


def test_attempts_under_way_are_counted(selector: BaseSelector) -> None:
    endpoints = endpoint_set(2)
    selector.update(endpoints)
    picked = [selector.pick_endpoint(Keyed(hash_key=key)) for key in range(10)]
    assert sum(each.in_flight for each in set(picked)) == 10
    for each in picked:
        selector.observe_endpoint(each, 0.01, None)
    assert {each.in_flight for each in picked} == {0}


def test_renewed_record_of_an_address_keeps_its_counts(selector: BaseSelector) -> None:
    selector.update([Endpoint("tcp://a:1")])
    before = selector.pick_endpoint(Keyed(hash_key=1))
    renewed = Endpoint("tcp://a:1", weight=7, labels={"tier": "fast"})
    selector.update([renewed])
    after = selector.pick_endpoint(Keyed(hash_key=1))
    assert after is before
    assert after.endpoint is renewed
    assert (after.weight, after.in_flight) == (7, 2)


def test_observation_of_an_endpoint_that_went_is_ignored(selector: BaseSelector) -> None:
    endpoints = endpoint_set(3)
    selector.update(endpoints)
    picked = [selector.pick(Keyed(hash_key=key)) for key in range(9)]
    selector.update(endpoint_set(4)[3:])
    for each in picked:
        selector.observe(each, 0.01, None)
    endpoint_state = selector.pick_endpoint(Keyed(hash_key=1))
    assert endpoint_state.in_flight == 1


def test_threads_may_share_a_selector_while_endpoints_change(selector: BaseSelector) -> None:
    small, large = endpoint_set(3), endpoint_set(40)
    selector.update(small)
    wrong: list[object] = []
    stop = threading.Event()

    def use() -> None:
        key = 0
        while not stop.is_set():
            key += 1
            picked = selector.pick_endpoint(Keyed(hash_key=key))
            if picked.endpoint not in large:
                wrong.append(picked)
            selector.observe_endpoint(picked, 0.001, None)

    threads = [threading.Thread(target=use) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(60):
        selector.update(large if turn % 2 else small)
    stop.set()
    for thread in threads:
        thread.join()
    selector.update(small)
    assert wrong == []
    assert {selector.endpoint_state(each).in_flight for each in small if selector.endpoint_state(each)} == {0}  # type: ignore[union-attr]


# The table and the adapter


def test_default_is_round_robin() -> None:
    assert type(selector_for(None)) is RoundRobin


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'round_robin'"):
        selector_for("roundrobin")


@pytest.mark.parametrize("wrong", [RoundRobin, 7, object()])
def test_objects_that_are_not_selectors_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="update, pick and observe"):
        selector_for(wrong)


def test_each_name_gives_a_new_object() -> None:
    assert selector_for("random") is not selector_for("random")


def test_user_defined_selector_is_told_each_outcome() -> None:
    theirs = Theirs()
    adapted = selector_for(theirs)
    adapted.update(endpoint_set(2))
    error = ValueError("theirs")
    picked = adapted.pick(Keyed())
    adapted.observe(picked, 0.25, error)
    assert theirs.endpoints == endpoint_set(2)
    assert theirs.observed == [(picked, 0.25, error)]


def test_user_defined_selector_must_pick_a_listed_endpoint() -> None:
    theirs = Theirs()
    adapted = selector_for(theirs)
    adapted.update(endpoint_set(2))
    theirs.endpoints = [Endpoint("tcp://stranger:1")]
    with pytest.raises(ConfigError, match=r"Theirs\.pick returned tcp://stranger:1"):
        adapted.pick(Keyed())


def test_selector_of_the_user_that_insists_gets_its_way() -> None:
    class First(Theirs):
        def pick(self, call: Any) -> Endpoint:
            return self.endpoints[0]

    adapted = selector_for(First())
    adapted.update(endpoint_set(2))
    assert adapted.pick(Keyed(), endpoint_set(1)) == endpoint_set(1)[0]


def test_methods_that_a_subclass_replaced_are_called() -> None:
    class Counting(RoundRobin):
        picks = 0

        def pick(self, call: Any, tried: Sequence[Endpoint] = ()) -> Endpoint:
            self.picks += 1
            return super().pick(call, tried)

    counting = Counting()
    adapted = selector_for(counting)
    adapted.update(endpoint_set(2))
    for _ in range(3):
        adapted.observe(adapted.pick(Keyed()), 0.001, None)
    assert counting.picks == 3
    assert {counting.endpoint_state(each).in_flight for each in endpoint_set(2)} == {0}  # type: ignore[union-attr]

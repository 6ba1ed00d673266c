"""The promises of selectors without keys in addition to the contract of all selectors."""

import heapq
import random
import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.endpoint import Endpoint
from fastrpc.errors import CallError, ConnectError
from fastrpc.selectors import LeastLoaded, Random, RoundRobin, SmoothWeighted
from fastrpc.status import Status

NO_CALL = SimpleNamespace(hash_key=None)


def endpoint_set(*weights: int) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + index)}", weight=weight) for index, weight in enumerate(weights)]


def test_new_record_at_the_memory_address_of_a_renewed_one_is_different() -> None:
    selector = RoundRobin()
    selector.update(endpoint_set(1))
    endpoint_state = selector.endpoint_state(selector.endpoints[0])
    place = id(endpoint_state.endpoint)
    endpoint_state.renew(Endpoint("memory://a", weight=2))
    others = [Endpoint(f"memory://other{number}") for number in range(1_000)]
    there = next((each for each in others if id(each) == place), None)
    if there is None:
        pytest.skip("this allocator gives no place out again")
    assert selector.endpoint_state(there) is None


def test_threads_that_have_tried_everything_between_them_still_pick() -> None:
    looking, go_on = threading.Event(), threading.Event()

    def clock() -> float:
        if threading.current_thread() is other:
            looking.set()
            go_on.wait(10)
        return 0.0

    endpoints = endpoint_set(1, 1, 1, 1)
    selector = LeastLoaded(clock=clock)
    other = threading.Thread(target=lambda: selector.pick(NO_CALL, endpoints[:2]))
    selector.update(endpoints)
    other.start()
    assert looking.wait(10)
    assert selector.pick(NO_CALL, endpoints[2:]) in endpoints
    go_on.set()
    other.join()


# Random, round robin


def test_random_picks_all_endpoints_equally_often() -> None:
    selector = Random(seed=1)
    selector.update(endpoint_set(*[1] * 7))
    counts = Counter(selector.pick(NO_CALL) for _ in range(70_000))
    # Chi square with 6 degrees of freedom: above 22.5 once in a thousand.
    assert sum((count - 10_000) ** 2 / 10_000 for count in counts.values()) < 22.5


def test_seed_repeats_random_picks() -> None:
    first, second, other = Random(seed=1), Random(seed=1), Random(seed=2)
    for selector in (first, second, other):
        selector.update(endpoint_set(*[1] * 7))
    picks = [[selector.pick(NO_CALL) for _ in range(30)] for selector in (first, second, other)]
    assert picks[0] == picks[1] != picks[2]


def test_round_robin_goes_round() -> None:
    selector = RoundRobin()
    endpoints = endpoint_set(1, 1, 1)
    selector.update(endpoints)
    first = endpoints.index(selector.pick(NO_CALL))
    assert [endpoints.index(selector.pick(NO_CALL)) for _ in range(6)] == [
        (first + n) % 3 for n in range(1, 7)
    ]


def test_round_robin_begins_anywhere() -> None:
    begins = set()
    for seed in range(50):
        selector = RoundRobin(seed=seed)
        selector.update(endpoint_set(1, 1, 1))
        begins.add(selector.pick(NO_CALL))
    assert len(begins) == 3


def picks(selector: RoundRobin | SmoothWeighted, count: int) -> str:
    return "".join(selector.pick(NO_CALL).address.path for _ in range(count))


def test_round_robin_keeps_its_position_when_the_endpoints_change() -> None:
    for seed in range(20):
        selector = RoundRobin(seed=seed)
        a, b, c, d = endpoint_set(1, 1, 1, 1)
        selector.update([a, b, c, d])
        while picks(selector, 1) != "b":
            pass
        selector.update([b])
        selector.update([a, c, d])
        assert picks(selector, 4) == "cdac"
        selector.update([a])
        assert picks(selector, 2) == "aa"
        selector.update([a, b, c, d])
        assert picks(selector, 4) == "bcda"


# Smooth weighted round robin


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ((5, 1, 1), "aabacaa" * 3),
        ((50, 10, 10), "aabacaa" * 3),
        ((1, 2), "bab" * 3),
        ((4, 3, 2), "abcabacba" * 2),
    ],
)
def test_weighted_picks_in_the_smooth_order(weights: tuple[int, ...], expected: str) -> None:
    selector = SmoothWeighted()
    selector.update(endpoint_set(*weights))
    assert "".join(selector.pick(NO_CALL).address.path for _ in expected) == expected


@given(st.lists(st.integers(1, 50_000), min_size=1, max_size=5), st.integers(1, 200))
def test_weighted_picks_like_the_definition(weights: list[int], picks: int) -> None:
    selector = SmoothWeighted()
    selector.update(endpoint_set(*weights))
    current = [0] * len(weights)
    for _ in range(picks):
        current = [value + weight for value, weight in zip(current, weights, strict=True)]
        best = current.index(max(current))
        current[best] -= sum(weights)
        assert selector.pick(NO_CALL).address.path == chr(97 + best)


def test_weighted_takes_other_weights_up() -> None:
    selector = SmoothWeighted()
    selector.update(endpoint_set(5, 1, 1))
    selector.pick(NO_CALL)
    selector.update(endpoint_set(1, 1, 2))
    assert Counter(selector.pick(NO_CALL).address.path for _ in range(40)) == {"a": 10, "b": 10, "c": 20}


@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.lists(st.integers(0, 9), max_size=9))
def test_weighted_resumes_its_sequence_when_endpoints_return(weights: list[int], pauses: list[int]) -> None:
    selector, undisturbed = SmoothWeighted(), SmoothWeighted()
    endpoints = endpoint_set(*weights)
    endpoint_set_of = EndpointSet(selector)
    endpoint_set_of.update(endpoints)
    undisturbed.update(endpoints)
    endpoint_states = endpoint_set_of.endpoint_states
    for number, pause in enumerate(pauses):
        assert picks(selector, pause) == picks(undisturbed, pause)
        endpoint_set_of.set_leaving(endpoint_states[number % len(weights)], True)
        endpoint_set_of.set_leaving(endpoint_states[number % len(weights)], False)
    assert picks(selector, 60) == picks(undisturbed, 60)


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=6),
)
def test_weighted_keeps_its_shares_through_any_changes(
    weights: list[int], changes: list[tuple[int, int]]
) -> None:
    selector = SmoothWeighted()
    endpoint_set_of = EndpointSet(selector)
    endpoint_set_of.update(endpoint_set(*weights))
    endpoint_states = endpoint_set_of.endpoint_states
    for index, count in changes:
        endpoint_set_of.set_leaving(endpoint_states[index % len(weights)], True)
        picks(selector, count)
        endpoint_set_of.set_leaving(endpoint_states[index % len(weights)], False)
        picks(selector, count)
    picks(selector, 10 * sum(weights))
    counts = Counter(picks(selector, 3 * sum(weights)))
    assert counts == {chr(97 + index): 3 * weight for index, weight in enumerate(weights)}


def test_weighted_does_not_burst_after_a_heavy_endpoint_leaves() -> None:
    selector = SmoothWeighted()
    a, b, heavy = endpoint_set(1, 1, 1_000)
    selector.update([a, b, heavy])
    picks(selector, 300)
    selector.update([a, b])
    assert Counter(picks(selector, 8)) == {"a": 4, "b": 4}


# Least loaded


class Simulation:
    """Calls at a steady rate to endpoints that take a set time each; time is simulated."""

    def __init__(self, selector: Callable[[Callable[[], float]], LeastLoaded], seconds: list[float]) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.endpoints = endpoint_set(*[1] * len(seconds))
        self.selector = selector(lambda: self.now)
        self.selector.update(self.endpoints)
        self._ends: list[tuple[float, int, int, float]] = []
        self._count = 0
        self._random = random.Random(5)

    def run(self, seconds: float, *, rate: float = 1_000) -> list[float]:
        """Return the share of the calls that each endpoint got."""
        counts = [0] * len(self.endpoints)
        until = self.now + seconds
        while self.now < until:
            self.now += 1 / rate
            while self._ends and self._ends[0][0] <= self.now:
                _, _, index, took = heapq.heappop(self._ends)
                self.selector.observe(self.endpoints[index], took, None)
            index = self.endpoints.index(self.selector.pick(NO_CALL))
            counts[index] += 1
            took = self.seconds[index] * self._random.uniform(0.8, 1.2)
            self._count += 1
            heapq.heappush(self._ends, (self.now + took, self._count, index, took))
        return [count / sum(counts) for count in counts]


@pytest.mark.parametrize("count", [2, 3, 10])
def test_least_loaded_leaves_an_endpoint_made_slow_and_comes_back(count: int) -> None:
    world = Simulation(lambda clock: LeastLoaded(clock=clock, seed=1), [0.002] * count)
    before = world.run(5)
    assert all(0.5 / count < share < 1.7 / count for share in before)
    world.seconds[0] *= 20
    world.run(2)
    slow = world.run(3)
    assert slow[0] <= 0.05 * before[0] + 0.01 / count
    world.seconds[0] /= 20
    world.run(5)
    assert world.run(5)[0] > 0.5 / count


def test_least_loaded_gives_a_heavy_endpoint_more() -> None:
    selector = LeastLoaded(seed=1)
    endpoints = endpoint_set(3, 1)
    selector.update(endpoints)
    counts = Counter(selector.pick(NO_CALL) for _ in range(400))
    assert counts[endpoints[0]] == 300


def test_least_loaded_does_not_take_failing_fast_for_being_fast() -> None:
    now = 0.0
    selector = LeastLoaded(clock=lambda: now, seed=1)
    good, bad = endpoint_set(1, 1)
    selector.update([good, bad])
    counts: Counter[Endpoint] = Counter()
    for _ in range(1_000):
        now += 0.001
        picked = selector.pick(NO_CALL)
        counts[picked] += 1
        if picked is bad:
            selector.observe(picked, 0.0001, ConnectError("refused"))
        else:
            selector.observe(picked, 0.005, None)
    assert counts[bad] < 50


def test_least_loaded_takes_a_refusal_by_the_handler_for_an_answer() -> None:
    now = 0.0
    selector = LeastLoaded(clock=lambda: now, seed=1)
    one, other = endpoint_set(1, 1)
    selector.update([one, other])
    counts: Counter[Endpoint] = Counter()
    for _ in range(1_000):
        now += 0.001
        picked = selector.pick(NO_CALL)
        counts[picked] += 1
        selector.observe(picked, 0.005, CallError(Status.NOT_FOUND) if picked is one else None)
    assert 300 < counts[one] < 700


def test_least_loaded_tries_a_new_endpoint_soon() -> None:
    world = Simulation(lambda clock: LeastLoaded(clock=clock, seed=1), [0.002] * 3)
    world.run(2)
    world.endpoints.append(Endpoint("memory://new"))
    world.seconds.append(0.002)
    world.selector.update(world.endpoints)
    shares = world.run(1)
    assert 0.15 < shares[3] < 0.4

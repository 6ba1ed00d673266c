"""The bindings of keys, and the two sides of a canary, by themselves and against models."""

import random
from collections import OrderedDict
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from fastrpc import ConfigError, Endpoint, Place
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.config import Breaker
from fastrpc.selectors import (
    Canary,
    LeastLoaded,
    Random,
    RoundRobin,
    SmoothWeighted,
    Sticky,
    labels,
    version,
    zones,
)
from tests.support.endpoint_sets import LOST, Clock, call, endpoints, name


def sticky_set(size: int, clock: Clock, **options: Any) -> EndpointSet:
    breaker = options.pop("breaker", None)
    made = Sticky(RoundRobin(seed=1), clock=clock, **options)
    endpoint_set = EndpointSet(made, clock=clock, breaker=breaker)
    endpoint_set.update(endpoints(size))
    return endpoint_set


def place(endpoint_set: EndpointSet, key: object, error: BaseException | None = None) -> str:
    pick = endpoint_set.pick(call(key=key))
    pick.ended(error)
    return name(pick)


def state_of(endpoint_set: EndpointSet, wanted: str) -> Any:
    return next(each for each in endpoint_set.endpoint_states if each.endpoint.address.path == wanted)


def test_a_key_keeps_its_endpoint_and_all_calls_without_a_key_share_one() -> None:
    endpoint_set = sticky_set(5, Clock())
    first = {key: place(endpoint_set, key) for key in range(50)}
    assert len(set(first.values())) == 5
    assert {key: place(endpoint_set, key) for key in range(50)} == first
    assert len({place(endpoint_set, None) for _ in range(10)}) == 1


def test_a_key_moves_only_if_its_endpoint_left() -> None:
    endpoint_set = sticky_set(5, Clock())
    before = {key: place(endpoint_set, key) for key in range(50)}
    endpoint_set.update([each for each in endpoints(7) if each.address.path != "b"])
    after = {key: place(endpoint_set, key) for key in range(50)}
    assert "b" not in after.values()
    assert {key for key in before if before[key] != after[key]} == {
        key for key in before if before[key] == "b"
    }
    # It does not come back to an endpoint that was away when it was called.
    endpoint_set.update(endpoints(7))
    assert {key: place(endpoint_set, key) for key in range(50)} == after


def test_an_endpoint_that_left_and_returned_between_two_calls_has_its_keys_still() -> None:
    endpoint_set = sticky_set(5, Clock())
    before = {key: place(endpoint_set, key) for key in range(50)}
    endpoint_set.update(endpoints(2))
    endpoint_set.update(endpoints(5))
    assert {key: place(endpoint_set, key) for key in range(50)} == before


def test_an_ejected_endpoint_keeps_its_keys_for_ten_seconds() -> None:
    clock = Clock()
    endpoint_set = sticky_set(5, clock)
    home = place(endpoint_set, "ann")
    endpoint_set.probe_failed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") != home
    clock.now += 9
    assert place(endpoint_set, "ann") != home
    endpoint_set.probe_passed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") == home
    # The time begins anew with the next ejection.
    clock.now += 5
    endpoint_set.probe_failed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") != home
    clock.now += 10.1
    moved = place(endpoint_set, "ann")
    endpoint_set.probe_passed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") == moved != home


def test_a_call_passes_an_open_breaker_by_and_the_key_moves_after_ten_seconds() -> None:
    clock = Clock()
    breaker = Breaker(consecutive=1, open_seconds=100, longest_open=100)
    endpoint_set = EndpointSet(Sticky(RoundRobin(seed=1), clock=clock), clock=clock, breaker=breaker)
    endpoint_set.update(endpoints(3))
    home = place(endpoint_set, "ann", LOST)
    places = set()
    for _ in range(10):
        places.add(place(endpoint_set, "ann"))
        clock.now += 1
    assert home not in places
    clock.now += 1
    assert len({place(endpoint_set, "ann") for _ in range(6)}) == 1


def test_an_earlier_call_that_says_nothing_does_not_move_a_key_that_came_back() -> None:
    clock = Clock()
    endpoint_set = sticky_set(3, clock)
    home = place(endpoint_set, "ann")
    earlier = endpoint_set.pick(call(key="ann"))
    endpoint_set.probe_failed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") != home
    clock.now += 6
    endpoint_set.probe_passed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") == home
    earlier.dropped()
    # The ten seconds begin with this ejection, not with the one before.
    endpoint_set.probe_failed(state_of(endpoint_set, home), 1)
    clock.now += 5
    assert place(endpoint_set, "ann") != home
    endpoint_set.probe_passed(state_of(endpoint_set, home), 1)
    assert place(endpoint_set, "ann") == home


def test_a_retry_goes_elsewhere_and_the_key_stays() -> None:
    endpoint_set = sticky_set(3, Clock())
    pick = endpoint_set.pick(call(key="ann"))
    pick.ended(LOST)
    retry = endpoint_set.pick(call(key="ann"), [pick.endpoint])
    retry.ended()
    assert retry.endpoint is not pick.endpoint
    assert place(endpoint_set, "ann") == name(pick)


def test_a_key_stays_where_retries_are_rare_though_other_calls_failed_there() -> None:
    clock = Clock()
    endpoint_set = sticky_set(3, clock, breaker=Breaker(consecutive=100))
    home = place(endpoint_set, "ann", LOST)  # The endpoint has breakers from now on.
    for _ in range(3):
        pick = endpoint_set.pick(call(key="ann"))
        pick.ended(LOST)
        retry = endpoint_set.pick(call(key="ann"), [pick.endpoint])
        retry.ended()
        assert home == name(pick) != name(retry)
        clock.now += 8
        assert place(endpoint_set, "ann") == home


def test_keys_are_forgotten_after_their_time_or_when_there_are_too_many() -> None:
    clock = Clock()
    endpoint_set = sticky_set(5, clock, keep=60, most=10)
    selector: Any = endpoint_set.selector
    for key in range(30):
        place(endpoint_set, key)
    assert len(selector.bindings) == 10
    clock.now += 61
    place(endpoint_set, "new")
    assert len(selector.bindings) == 1


def test_calls_under_way_are_counted_once() -> None:
    endpoint_set = sticky_set(3, Clock())
    picks = [endpoint_set.pick(call(key="ann")) for _ in range(4)]
    assert sum(each.in_flight for each in endpoint_set.endpoint_states) == 4
    picks[0].ended()
    picks[1].dropped()
    picks[2].undone()
    assert sum(each.in_flight for each in endpoint_set.endpoint_states) == 1


@pytest.mark.parametrize("seed", range(4))
def test_random_histories_of_bindings_follow_a_model(seed: int) -> None:
    """A dict in the order of use stands for the table: the same keys are bound to the same endpoints."""
    choice = random.Random(seed)
    clock = Clock()
    endpoint_set = sticky_set(6, clock, keep=40, most=25)
    model: OrderedDict[object, tuple[str, float]] = OrderedDict()
    listed = {each.address.path for each in endpoints(6)}
    for _ in range(1500):
        clock.now += choice.choice([0, 0.5, 2])
        if choice.random() < 0.03:
            kept = [each for each in endpoints(8) if choice.random() < 0.7] or endpoints(1)
            endpoint_set.update(kept)
            listed = {each.address.path for each in kept}
            continue
        key = choice.choice([None, *range(40)])
        where = place(endpoint_set, key)
        bound = model.get(key)
        if bound is not None and bound[0] in listed and clock.now - bound[1] < 39:
            assert where == bound[0]
        model[key] = (where, clock.now)
        model.move_to_end(key)
        while len(model) > 25:
            model.popitem(last=False)


def test_a_given_seed_outlasts_a_fork() -> None:
    """After a fork an endpoint set takes new random states, but for selectors with a seed."""

    def places(is_forked: bool) -> list[str]:
        endpoint_set = EndpointSet(Canary(Random(seed=7), to=version("2"), percent=0), clock=Clock())
        endpoint_set.update(endpoints(9))
        if is_forked:
            endpoint_set.reseed()
        return [place(endpoint_set, None) for _ in range(30)]

    assert places(True) == places(False)
    endpoint_set = EndpointSet(Sticky("random"), clock=Clock())
    endpoint_set.update(endpoints(9))
    before = {key: place(endpoint_set, key) for key in range(30)}
    endpoint_set.reseed()
    assert {key: place(endpoint_set, key) for key in range(30)} == before


def test_a_list_that_changes_inside_the_filter_of_a_canary_counts() -> None:
    """As another thread does while the filter runs."""
    later = [versions(2, 1)]

    def to(given: Any, _: Any) -> Any:
        if later:
            endpoint_set.update(later.pop())
        return [each for each in given if each.version == "2"]

    endpoint_set = EndpointSet(Canary(to=to, percent=100), clock=Clock())
    endpoint_set.update(versions(5, 5))
    assert {str(each) for each in endpoint_set.endpoints} == {str(each) for each in versions(2, 1)}
    assert is_new(endpoint_set)


def test_the_table_takes_little_memory() -> None:
    clock = Clock()
    endpoint_set = sticky_set(10, clock, most=100_000)
    selector: Any = endpoint_set.selector
    for key in range(20_000):
        place(endpoint_set, f"user-{key}")
    assert selector.bindings.size == 20_000
    assert selector.bindings.nbytes / 20_000 <= 160


def test_a_hundred_thousand_keys_move_only_if_their_endpoints_leave() -> None:
    """Each minute a fifth of the endpoints is exchanged, and all keys are called."""
    clock = Clock()
    endpoint_set = EndpointSet(Sticky("random", clock=clock), clock=clock)
    listed = [Endpoint(f"tcp://10.0.0.1:{port}") for port in range(1, 51)]
    endpoint_set.update(listed)
    keys = [(f"user-{number}", call(key=f"user-{number}")) for number in range(100_000)]
    places: dict[str, str] = {}
    for minute in range(1, 4):
        there = {str(each) for each in listed}
        for key, made in keys:
            pick = endpoint_set.pick(made)
            where = str(pick.endpoint)
            pick.ended()
            assert places.get(key, where) == where or places[key] not in there
            places[key] = where
        clock.now += 60
        listed = [*listed[10:], *(Endpoint(f"tcp://10.0.{minute}.1:{port}") for port in range(1, 11))]
        endpoint_set.update(listed)
    selector: Any = endpoint_set.selector
    assert len(selector.bindings) == 100_000
    assert selector.bindings.nbytes <= 160 * 100_000


def test_each_client_has_its_own_bindings_and_inner_selector() -> None:
    first = Sticky("round_robin")
    assert first.claimed() is first
    second = first.claimed()
    assert second is not first
    assert second.inner is not first.inner
    inner = LeastLoaded()
    assert Sticky(inner).inner is inner
    assert Sticky(inner).inner is not inner


@pytest.mark.parametrize("inner", [SimpleNamespace(update=print, pick=print, observe=print), None, "none"])
def test_only_our_selectors_can_be_inside(inner: Any) -> None:
    with pytest.raises(ConfigError):
        Sticky(inner)
    with pytest.raises(ConfigError):
        Canary(inner, to=version("2"))


@pytest.mark.parametrize("options", [{"keep": 0}, {"most": 0}, {"most": 1.5}, {"keep": "1"}])
def test_wrong_bounds_of_bindings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Sticky(**options)


# Canary


def versions(old: int, new: int) -> list[Endpoint]:
    return [
        *(Endpoint(f"memory://old-{n}", version="1") for n in range(old)),
        *(Endpoint(f"memory://new-{n}", version="2") for n in range(new)),
    ]


def canary_set(selector: Canary, old: int = 3, new: int = 2, **options: Any) -> EndpointSet:
    endpoint_set = EndpointSet(selector, clock=Clock(), **options)
    endpoint_set.update(versions(old, new))
    return endpoint_set


def of_user(**metadata: str) -> SimpleNamespace:
    return SimpleNamespace(method="arith.mul", hash_key=None, arguments=(), metadata=metadata)


def is_new(endpoint_set: EndpointSet, made: Any = None, tried: Any = ()) -> bool:
    pick = endpoint_set.pick(made or call(), tried)
    pick.ended()
    return name(pick).startswith("new")


def test_a_percentage_goes_to_the_canary_by_chance() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), percent=5))
    total = 100_000
    assert abs(sum(is_new(endpoint_set) for _ in range(total)) / total - 0.05) <= 0.005


def test_a_percentage_of_the_users_and_each_user_on_one_side() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), percent=5, by="user"))
    total = 100_000
    sides = [is_new(endpoint_set, of_user(user=f"user-{n}")) for n in range(total)]
    assert abs(sum(sides) / total - 0.05) <= 0.005
    assert [is_new(endpoint_set, of_user(user=f"user-{n}")) for n in range(500)] == sides[:500]


def test_a_higher_percentage_keeps_the_present_keys() -> None:
    selector = Canary(to=version("2"), percent=10, by="user")
    endpoint_set = canary_set(selector)
    before = {n for n in range(2000) if is_new(endpoint_set, of_user(user=str(n)))}
    selector.percent = 30
    after = {n for n in range(2000) if is_new(endpoint_set, of_user(user=str(n)))}
    assert before < after
    selector.percent = 0
    assert not any(is_new(endpoint_set, of_user(user=str(n))) for n in range(100))
    selector.percent = 100
    assert all(is_new(endpoint_set, of_user(user=str(n))) for n in range(100))


def test_a_pair_of_metadata_goes_to_the_canary() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), when=MappingProxyType({"x-canary": "yes"})))
    assert all(is_new(endpoint_set, of_user(**{"x-canary": "yes"})) for _ in range(20))
    assert not any(is_new(endpoint_set, of_user(**{"x-canary": "no"})) for _ in range(20))
    assert not is_new(endpoint_set)


def test_calls_without_the_entry_are_divided_by_chance() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), percent=50, by="user"))
    assert 0 < sum(is_new(endpoint_set, of_user()) for _ in range(100)) < 100


@pytest.mark.parametrize(
    "inner", ["round_robin", "random", "least_loaded", "weighted", RoundRobin(), Random()]
)
def test_each_side_is_picked_by_a_separate_selector(inner: Any) -> None:
    endpoint_set = canary_set(Canary(inner, to=version("2"), percent=50))
    names = set()
    for _ in range(300):
        pick = endpoint_set.pick(call())
        names.add(name(pick))
        pick.ended()
    assert names == {each.address.path for each in versions(3, 2)}
    assert sum(each.in_flight for each in endpoint_set.endpoint_states) == 0


def test_an_empty_side_gives_its_calls_to_the_other() -> None:
    alone = canary_set(Canary(to=version("2"), percent=100), old=3, new=0)
    assert not any(is_new(alone) for _ in range(10))
    only = canary_set(Canary(to=version("2"), percent=0), old=0, new=2)
    assert all(is_new(only) for _ in range(10))


def test_an_unsound_side_gives_its_calls_to_the_other() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), percent=100))
    for each in endpoint_set.endpoint_states:
        if each.endpoint.version == "2":
            endpoint_set.probe_failed(each, 1)
    assert not any(is_new(endpoint_set) for _ in range(10))


def test_a_retry_leaves_a_side_whose_endpoints_were_all_tried() -> None:
    endpoint_set = canary_set(Canary(to=version("2"), percent=100), new=1)
    pick = endpoint_set.pick(call())
    pick.ended(LOST)
    assert not is_new(endpoint_set, tried=[pick.endpoint])


def test_an_open_breaker_of_the_only_canary_sends_its_calls_to_other_endpoints() -> None:
    breaker = Breaker(consecutive=1, open_seconds=100, longest_open=100)
    endpoint_set = canary_set(Canary(to=version("2"), percent=100), new=1, breaker=breaker)
    pick = endpoint_set.pick(call())
    pick.ended(LOST)
    assert name(pick) == "new-0"
    assert not any(is_new(endpoint_set) for _ in range(10))


def test_the_filters_of_the_inner_selector_narrow_both_sides() -> None:
    inner = SmoothWeighted(filters=[labels(tier="fast")])
    endpoint_set = EndpointSet(Canary(inner, to=version("2"), percent=50), clock=Clock())
    fast = {"tier": "fast"}
    endpoint_set.update(
        [*versions(2, 2), *(Endpoint(f"memory://new-f{n}", version="2", labels=fast) for n in (1, 2))]
    )
    picks = [endpoint_set.pick(call()) for _ in range(20)]
    assert {name(pick) for pick in picks} == {"new-f1", "new-f2"}


@pytest.mark.parametrize("is_sticky", [False, True])
def test_a_filter_that_compares_the_endpoints_of_a_list_gets_each_side_by_itself(is_sticky: bool) -> None:
    inner = LeastLoaded(filters=[zones(place=Place(zone="z1"))])
    canary = Canary(inner, to=version("2"), percent=100)
    endpoint_set = EndpointSet(Sticky(canary) if is_sticky else canary, clock=Clock())
    old = [Endpoint(f"memory://old-{zone}", version="1", zone=zone) for zone in ("z1", "z2")]
    endpoint_set.update([*old, Endpoint("memory://new-z2", version="2", zone="z2")])
    assert {str(each) for each in endpoint_set.endpoints} == {"memory://old-z1", "memory://new-z2"}
    assert all(is_new(endpoint_set) for _ in range(20))
    endpoint_set.update(old)
    assert {str(each) for each in endpoint_set.endpoints} == {"memory://old-z1"}


def test_a_filter_compares_the_health_of_each_side() -> None:
    inner = RoundRobin(filters=[zones(place=Place(zone="z1"))])
    endpoint_set = EndpointSet(Canary(inner, to=version("2"), percent=100), clock=Clock())
    sides = (("old", "1"), ("new", "2"))
    endpoint_set.update(
        Endpoint(f"memory://{side}-{zone}", version=number, zone=zone)
        for side, number in sides
        for zone in ("z1", "z2")
    )
    ill = next(each for each in endpoint_set.endpoint_states if each.name == "memory://new-z1")
    endpoint_set.probe_failed(ill, 1)
    assert {str(each) for each in endpoint_set.endpoints} == {"memory://old-z1", "memory://new-z2"}


@pytest.mark.parametrize(
    "options",
    [
        *({"percent": 101}, {"percent": -1}, {"percent": "5"}, {"to": "2"}),
        *({"by": 3}, {"by": ["x"]}, {"by": "User"}, {"by": "user-bin"}, {"by": "frpc-user"}, {"by": ""}),
        *({"when": ["x"]}, {"when": {"X-Canary": "1"}}, {"when": {"x": 1}}, {"when": {"x-bin": b"1"}}),
    ],
)
def test_wrong_options_of_a_canary_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Canary(**{"to": version("2"), **options})

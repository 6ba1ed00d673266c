"""The filter `zones`: the share that stays, who joins, in which order, and when all are kept."""

import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from fastrpc import ConfigError, Endpoint, Place
from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.endpoint import Address
from fastrpc.selectors import Filter, LeastLoaded, Random, RoundRobin, zones
from tests.conftest import SCALE

CLIENTS = 200
HERE = Place(zone="a")


def endpoints_in(zone: str, count: int, *, weight: int = 1, **labels: str) -> list[Endpoint]:
    return [
        Endpoint(f"tcp://{zone or 'none'}.example:{port}", zone=zone, weight=weight, labels=labels)
        for port in range(1, count + 1)
    ]


def sound_but(*broken: Endpoint) -> Callable[[Endpoint], bool]:
    found = set(broken)
    return lambda each: each not in found


def everywhere(_: Endpoint) -> bool:
    return True


def zones_of(kept: Sequence[Endpoint]) -> str:
    return "".join(sorted({each.zone for each in kept}))


def own_share(kept: Sequence[Endpoint]) -> float:
    """Return the share of calls that stays in zone a if all get equally many for their weight."""
    return sum(each.weight for each in kept if each.zone == "a") / sum(each.weight for each in kept)


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("tenths", range(11))
def test_the_share_that_stays_matches_envoy(count: int, tenths: int) -> None:
    own, *others = [endpoints_in(zone, 20) for zone in "abcd"[:count]]
    everything = [*own, *(each for zone in others for each in zone)]
    is_sound = sound_but(*own[2 * tenths :])
    kept = [zones(place=HERE, client=number)(everything, is_sound) for number in range(CLIENTS)]
    mean = sum(map(own_share, kept)) / CLIENTS
    assert abs(mean - min(1.0, 1.4 * tenths / 10)) <= 0.03
    assert all(is_sound(each) for one in kept for each in one)
    # The rest goes to the next zone only, and there to all endpoints.
    assert zones_of([each for one in kept for each in one]) in ("a", "ab", "b")
    counted = Counter(each for one in kept for each in one)
    loads = [counted[each] for each in others[0]]
    if tenths <= 4:
        assert max(loads) <= 1.5 * sum(loads) / len(loads)


@pytest.mark.parametrize("broken", range(4))
def test_in_small_zones_the_mean_of_the_clients_counts(broken: int) -> None:
    own, other = endpoints_in("a", 3), endpoints_in("b", 3)
    is_sound = sound_but(*own[:broken])
    shares = [own_share(zones(place=HERE, client=n)([*own, *other], is_sound)) for n in range(CLIENTS)]
    assert abs(sum(shares) / CLIENTS - min(1.0, 1.4 * (3 - broken) / 3)) <= 0.05


@pytest.mark.parametrize("make", [RoundRobin, Random, LeastLoaded])
@pytest.mark.parametrize("tenths", [3, 6, 9])
def test_calls_follow_the_share_with_each_selector(make: type, tenths: int) -> None:
    own, other = endpoints_in("a", 20), endpoints_in("b", 20)
    stayed = 0
    for number in range(40):
        selector = make(filters=[zones(place=HERE, client=number)], seed=number)
        endpoint_set = EndpointSet(selector)
        endpoint_set.update([*own, *other])
        for state in endpoint_set.endpoint_states:
            if state.endpoint in own[2 * tenths :]:
                endpoint_set.probe_failed(state, 1)
        picks = [endpoint_set.pick(NamedCall()) for _ in range(100)]
        stayed += sum(pick.endpoint.zone == "a" for pick in picks)
        for pick in picks:
            pick.ended()
    assert abs(stayed / 4000 - min(1.0, 1.4 * tenths / 10)) <= 0.03


class NamedCall:
    method = "arith.mul"
    hash_key = None


def test_a_zone_by_weight() -> None:
    own = [*endpoints_in("a", 1, weight=9), Endpoint("tcp://light:1", zone="a")]
    other = endpoints_in("b", 20)
    is_sound = sound_but(own[0])
    shares = [own_share(zones(place=HERE, client=n)([*own, *other], is_sound)) for n in range(CLIENTS)]
    assert abs(sum(shares) / CLIENTS - 0.14) <= 0.03


def test_endpoints_of_weight_0_do_not_count() -> None:
    own, other = endpoints_in("a", 2), endpoints_in("b", 2)
    idle = [Endpoint(f"tcp://idle:{n}", zone="a", weight=0) for n in range(1, 9)]
    assert zones_of(zones(place=HERE)([*own, *idle, *other], sound_but(*idle))) == "a"


@pytest.mark.parametrize(
    ("order", "place", "expected"),
    [
        (("d", "c"), HERE, "adc"),
        ((), Place(zone="a", region="west"), "acd"),
        (("b",), Place(zone="a", region="west"), "abc"),
        ((), Place(zone="a", latitude=0, longitude=0), "adb"),
        ((), Place(zone="a", region="east", latitude=0, longitude=0), "adb"),
        ((), HERE, "abc"),
    ],
)
def test_the_next_zones_come_in_their_order(order: Sequence[str], place: Place, expected: str) -> None:
    """One endpoint in each zone: the own zone has no sound endpoint, and the other zones fail one after the other."""
    here = endpoints_in("a", 1)
    there = {
        "b": endpoints_in("b", 1, latitude="3", longitude="3"),
        "c": endpoints_in("c", 1, region="west"),
        "d": endpoints_in("d", 1, region="west", latitude="1", longitude="-1"),
        "": endpoints_in("", 1),
    }
    if place.region == "west":
        there["d"] = endpoints_in("d", 1, region="west")
    everything = [*here, *(each for zone in there.values() for each in zone)]
    narrow = zones(order, place=place)
    assert zones_of(narrow(everything, everywhere)) == "a"
    assert zones_of(narrow(everything, sound_but(*here))) == expected[1]
    assert zones_of(narrow(everything, sound_but(*here, *there[expected[1]]))) == expected[2]


def test_a_zone_without_an_endpoint_gives_way_to_the_next() -> None:
    everything = [*endpoints_in("b", 3), *endpoints_in("c", 3)]
    assert zones_of(zones(["c"], place=HERE)(everything, everywhere)) == "c"


def test_with_less_than_half_of_all_sound_all_are_kept() -> None:
    everything = [*endpoints_in("a", 4), *endpoints_in("b", 4)]
    assert len(zones(place=HERE)(everything, sound_but(*everything[:4]))) < 8
    assert zones(place=HERE)(everything, sound_but(*everything[:5])) == everything


def test_without_a_zone_all_are_kept_and_one_warning_says_so(caplog: pytest.LogCaptureFixture) -> None:
    everything = [*endpoints_in("a", 2), *endpoints_in("b", 2)]
    narrow = zones(place=Place(zone=""))
    with caplog.at_level(logging.WARNING, "fastrpc.client"):
        assert narrow(everything, everywhere) == everything
        assert narrow(everything, everywhere) == everything
    assert [record.message.partition(":")[0] for record in caplog.records] == ["zones() keeps all endpoints"]


def test_clients_of_one_name_choose_the_same_subset_and_other_clients_do_not() -> None:
    own, other = endpoints_in("a", 20), endpoints_in("b", 20)
    is_sound = sound_but(*own[5:])

    def chosen(narrow: Filter) -> frozenset[Address]:
        return frozenset(each.address for each in narrow([*own, *other], is_sound))

    assert len({chosen(zones(place=HERE, client="all")) for _ in range(5)}) == 1
    assert len({chosen(zones(place=HERE)) for _ in range(5)}) > 1
    alone = zones(place=HERE)
    assert chosen(alone) == chosen(alone)


def test_hints_count_if_all_have_them_and_one_names_the_own_zone() -> None:
    near = [Endpoint(f"tcp://far:{n}", zone="b", labels={"hints": "a"}) for n in (1, 2)]
    far = [Endpoint(f"tcp://near:{n}", zone="a", labels={"hints": "b,c"}) for n in (1, 2)]
    assert list(zones(place=HERE)([*near, *far], everywhere)) == near
    unhinted = [*endpoints_in("a", 2)]
    assert list(zones(place=HERE)([*near, *far, *unhinted], everywhere)) == [*far, *unhinted]
    assert list(zones(place=Place(zone="d"))([*far, *near], everywhere)) != []


@pytest.mark.parametrize("options", [{"order": "ab"}, {"headroom": 0.5}, {"headroom": "2"}, {"place": "a"}])
def test_wrong_arguments_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        zones(**options)  # type: ignore[arg-type]


def model_of(everything: Sequence[Endpoint], sound: set[Endpoint], names: str) -> tuple[float, int]:
    """Return the expected share of the own zone, and the number of zones used, by the words of the rule."""
    if 2 * len(sound) < len(everything):
        return -1.0, len({each.zone for each in everything})
    groups = [[each for each in everything if each.zone == name] for name in names]
    groups = [group for group in groups if group]
    own = [each for each in groups[0] if each in sound]
    needed, used = len(groups[0]) / 1.4 - len(own), 1
    for group in groups[1:]:
        if needed <= 1e-9:
            break
        found = sum(each in sound for each in group)
        used += found > 0
        needed -= found
    return (len(own) / max(len(own), len(groups[0]) / 1.4) if needed <= 1e-9 else -1.0), used


@pytest.mark.parametrize("seed", range(3 if SCALE <= 1 else 8))
def test_random_histories_follow_the_model(seed: int) -> None:
    """Endpoints come, go, break and recover; after each step all clients follow the rule."""
    choice = random.Random(seed)
    everything = [each for zone in "abc" for each in endpoints_in(zone, choice.randint(1, 12))]
    broken: set[Endpoint] = set()
    clients = [zones(["b", "c"], place=HERE, client=number) for number in range(60)]
    for _ in range(40):
        one = choice.choice(everything)
        if choice.random() < 0.7:
            broken ^= {one}
        elif choice.random() < 0.5 and len(everything) > 3:
            everything.remove(one)
            broken.discard(one)
        else:
            zone = choice.choice("abc")
            everything.append(Endpoint(f"tcp://{zone}.new:{choice.randrange(1, 60000)}", zone=zone))
        sound = {each for each in everything if each not in broken}
        share, used = model_of(everything, sound, "abc")
        kept = [narrow(everything, sound.__contains__) for narrow in clients]
        assert all(list(one) == [each for each in everything if each in one] for one in kept)
        assert len({each.zone for one in kept for each in one}) <= used
        if 2 * len(sound) < len(everything):
            assert all(list(one) == everything for one in kept)
        elif share >= 0:
            first = next(name for name in "abc" if any(each.zone == name for each in everything))
            shares = [sum(each.zone == first for each in one) / len(one) for one in kept]
            assert abs(sum(shares) / len(shares) - share) <= 0.1

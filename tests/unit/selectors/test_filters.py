"""Filters keep the endpoints they should, in their order."""

from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError
from fastrpc.selectors import Filter, RoundRobin, labels, subset, version, zone


def kept(
    narrow: Filter, endpoints: Sequence[Endpoint], is_sound: Callable[[Endpoint], bool] = lambda each: True
) -> str:
    return "".join(each.address.path for each in narrow(endpoints, is_sound))


def versions(*numbers: str) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + index)}", version=number) for index, number in enumerate(numbers)]


def zones(text: str) -> list[Endpoint]:
    return [Endpoint(f"memory://{chr(97 + index)}", zone=name) for index, name in enumerate(text)]


def test_labels_keep_endpoints_with_all_of_them() -> None:
    endpoints = [
        Endpoint("memory://a", labels={"tier": "fast", "stage": "blue"}),
        Endpoint("memory://b", labels={"tier": "fast"}),
        Endpoint("memory://c"),
        Endpoint("memory://d", labels={"tier": "fast", "stage": "blue", "rack": "7"}),
    ]
    assert kept(labels(tier="fast", stage="blue"), endpoints) == "ad"
    assert kept(labels(), endpoints) == "abcd"


def test_label_group_names_several_groups() -> None:
    endpoints = [
        Endpoint("memory://a", labels={"group": "blue,green", "stage": "blue,green"}),
        Endpoint("memory://b", labels={"group": "green"}),
        Endpoint("memory://c", labels={"group": "greenish"}),
        Endpoint("memory://d"),
    ]
    assert kept(labels(group="green"), endpoints) == "ab"
    assert kept(labels(group="blue,green"), endpoints) == "a"
    assert kept(labels(stage="green"), endpoints) == ""


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("2", "cd"),
        ("=2.0", "c"),
        ("2.7.1", "d"),
        (">=1.4", "bcde"),
        (">=1.4, <2", "b"),
        (">1", "cde"),
        (">1.0", "bcde"),
        ("<=2", "abcd"),
        ("!=2", "abe"),
        ("v10", "e"),
    ],
)
def test_version_compares_number_by_number(condition: str, expected: str) -> None:
    endpoints = versions("1.0", "v1.4.2", "2", "2.7.1-beta", "10.0", "", "latest")
    assert kept(version(condition), endpoints) == expected


@pytest.mark.parametrize("condition", ["", "new", ">=", "1.x", "1,", "=>2"])
def test_condition_that_cannot_be_read_is_refused(condition: str) -> None:
    with pytest.raises(ConfigError, match="not a condition"):
        version(condition)


def test_own_zone_is_kept_while_it_is_sound() -> None:
    assert kept(zone("x", sound=0.5), zones("xxyyx")) == "abe"


def test_calls_leave_an_unhealthy_zone_and_return() -> None:
    narrow = zone("x", sound=0.5)
    endpoints = zones("xxxxyy")
    sick = set(endpoints[:2])
    assert kept(narrow, endpoints, lambda each: each not in sick) == "abcd"
    sick.add(endpoints[2])
    assert kept(narrow, endpoints, lambda each: each not in sick) == "abcdef"
    sick.clear()
    assert kept(narrow, endpoints, lambda each: each not in sick) == "abcd"


def test_zone_without_endpoints_keeps_all() -> None:
    assert kept(zone("z"), zones("xxyy")) == "abcd"


@pytest.mark.parametrize("sound", [0, -1, 1.1])
def test_zone_refuses_a_share_that_makes_no_sense(sound: float) -> None:
    with pytest.raises(ConfigError, match="sound"):
        zone("x", sound=sound)


def endpoint_set(size: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.{number // 250}.{number % 250}:1") for number in range(size)]


def test_subset_depends_on_the_client_alone() -> None:
    endpoints = endpoint_set(100)
    first = subset(10, client="web-1")(endpoints, lambda each: True)
    again = subset(10, client="web-1")(endpoints[::-1], lambda each: True)
    other = subset(10, client="web-2")(endpoints, lambda each: True)
    assert len(first) == 10
    assert set(first) == set(again) != set(other)


def test_subset_changes_by_one_when_one_goes() -> None:
    endpoints = endpoint_set(100)
    narrow = subset(10, client="web-1")
    before = set(narrow(endpoints, lambda each: True))
    for gone in endpoints:
        after = set(narrow([each for each in endpoints if each is not gone], lambda each: True))
        assert len(before - after) == (gone in before)


def test_subsets_of_many_clients_load_servers_equally() -> None:
    endpoints = endpoint_set(50)
    counts: Counter[Endpoint] = Counter()
    for client in range(1_000):
        counts.update(subset(10, client=client)(endpoints, lambda each: True))
    # 200 on the average, with a deviation of 13.
    assert 145 < min(counts.values()) <= max(counts.values()) < 255


def test_small_set_of_endpoints_is_kept_whole() -> None:
    endpoints = endpoint_set(3)
    assert subset(3, client="web-1")(endpoints, lambda each: True) == endpoints


@pytest.mark.parametrize("size", [0, -1, 1.5, True])
def test_subset_refuses_a_size_that_makes_no_sense(size: int) -> None:
    with pytest.raises(ConfigError, match="size"):
        subset(size, client="web-1")


def test_selector_applies_its_filters_in_order() -> None:
    selector = RoundRobin(filters=[version(">=2"), labels(tier="fast")])
    selector.update(
        [
            Endpoint("memory://a", version="2.1", labels={"tier": "fast"}),
            Endpoint("memory://b", version="1.9", labels={"tier": "fast"}),
            Endpoint("memory://c", version="2.1"),
        ]
    )
    assert [str(each) for each in selector.endpoints] == ["memory://a"]


def test_objects_that_are_not_filters_are_refused() -> None:
    with pytest.raises(ConfigError, match="not a filter"):
        RoundRobin(filters=["tier=fast"])  # type: ignore[list-item]


@pytest.mark.parametrize("filters", [3, labels])
def test_filters_that_are_no_list_are_refused(filters: object) -> None:
    with pytest.raises(ConfigError, match=r"filters is .*, it must be a list"):
        RoundRobin(filters=filters)

"""The closest name is found in bounded time, for any name and any list."""

import statistics
import time
from collections.abc import Iterator
from random import Random

import pytest

from fastrpc._core.base.nearest_name import NameIndex
from tests.conftest import Scale

ALIKE = 0.6
LONGEST = 128


def common(first: bytes, second: bytes) -> int:
    """Return the length of the longest common subsequence, by the textbook."""
    row = [0] * (len(second) + 1)
    for one in first:
        corner = 0
        for place, other in enumerate(second, 1):
            row[place], corner = corner + 1 if one == other else max(row[place - 1], row[place]), row[place]
    return row[-1]


def alike(first: bytes, second: bytes) -> bool:
    return 2 * common(first, second) >= ALIKE * (len(first) + len(second))


def random_name(random: Random, longest: int = 150) -> str:
    parts = [
        "".join(random.choices("ab-_9Zé", k=random.randint(1, longest // 2)))
        for _ in range(random.randint(1, 3))
    ]
    return ".".join(parts)[:longest]


def damaged(random: Random, name: str) -> str:
    letters = list(name)
    for _ in range(random.randint(1, max(1, len(letters) // 3))):
        place = random.randrange(len(letters) + 1)
        letters[place : place + random.randrange(2)] = random.choice(("", "a", "x", "."))
    return "".join(letters)


def test_likeness_follows_the_longest_common_subsequence(scale: Scale) -> None:
    random = Random(1)
    found = 0
    for _ in range(scale(600)):
        name = random_name(random)
        wanted = damaged(random, name)
        whole = [each.casefold().encode() for each in (wanted, name)]
        lasts = [each.rpartition(b".")[2] for each in whole]
        begins = lasts[0] and (lasts[1].startswith(lasts[0]) or lasts[0].startswith(lasts[1]))
        meant = max(map(len, whole)) <= LONGEST and alike(*whole) and (begins or alike(*lasts))
        meant = meant or (wanted == name.rpartition(".")[2] and len(wanted) <= LONGEST)
        assert NameIndex([name]).nearest(wanted) == (name if meant else None), (name, wanted)
        found += bool(meant)
    assert found > scale(600) / 10


@pytest.mark.parametrize("count", [10, 300, 5_000])
def test_a_small_mistake_is_seen_among_many_names(count: int) -> None:
    random = Random(2)
    names = [f"{random.choice(('shop', 'bank', 'depot'))}.method{number:05d}" for number in range(count)]
    index = NameIndex(names)
    for name in random.sample(names, 10):
        assert index.nearest(name + "x") == name
        assert index.nearest(name.upper()) == name


def test_names_are_compared_by_their_service_first() -> None:
    index = NameIndex(["shop.orders.place", "shop.orders.cancel", "bank.orders.place"])
    assert index.nearest("shop.order.place") == "shop.orders.place"
    assert index.nearest("bank.order.place") == "bank.orders.place"
    assert index.nearest("place") == "bank.orders.place"


@pytest.mark.parametrize("wanted", ["", ".", "..", "\ud800", "x" * 128, "x" * 129, "\0" * 200, "é" * 100])
def test_any_text_may_be_looked_for(wanted: str) -> None:
    assert NameIndex(["arith.mul", "x" * 500, "é" * 70]).nearest(wanted) is None
    assert NameIndex([]).nearest(wanted) is None


def test_index_can_be_rebuilt() -> None:
    index = NameIndex(["arith.mul"])
    index.__init__(["arith.add"])  # type: ignore[misc]
    assert index.nearest("arith.ad") == "arith.add"


def near_all(count: int, size: int) -> Iterator[tuple[list[str], str]]:
    """Yield names, and one that is near all of them."""
    for service in ("s" * (size - 12), "".join(Random(3).choices("abcdefgh", k=size - 12))):
        yield [f"{service}.method{number:05d}" for number in range(count)], f"{service[:116]}.nethod9999x"


@pytest.mark.measures
@pytest.mark.parametrize(("count", "size"), [(50, 40), (200, 40), (2_000, 128), (2_000, 255), (20_000, 100)])
def test_a_look_takes_less_than_a_hundred_microseconds(count: int, size: int) -> None:
    for names, wanted in near_all(count, size):
        index = NameIndex(names)
        seconds = []
        for number in range(500):
            text = f"{wanted[:-3]}{number}"
            started = time.perf_counter()
            index.nearest(text)
            seconds.append(time.perf_counter() - started)
        assert statistics.median(seconds) < 100e-6

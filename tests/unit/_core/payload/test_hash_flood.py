"""Keys of maps and values of sets: the ones chosen to collide are refused, all others pass."""

import datetime
import random
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec
import pytest

from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.hash_flood import HashFloodGuard, HashModel, key_decoder, untyped_guard
from tests.support.colliding import alike_decimals, alike_numbers, colliding_numbers, colliding_set_values
from tests.support.colliding_payloads import json_map, packed_map

MSGPACK, JSON = 1, 2
COLLIDING = colliding_numbers(14, 6_000, 1_000)
MODULUS = 2**61 - 1
UTC = datetime.UTC
DAY = datetime.datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Place:
    x: int
    y: int


class Pair(NamedTuple):
    first: int
    second: int


class Part(msgspec.Struct, frozen=True):
    first: int
    second: int


@cache
def alike_pairs() -> list[tuple[int, int]]:
    """Return 12,800 pairs, 64 of each hash."""
    return [
        (first, second)
        for number in range(10, 4_010, 20)
        for first in alike_numbers(number)
        for second in alike_numbers(number + 1)
    ]


def scan_of(kind: Any, codec: int = MSGPACK, *, of_sets: bool = False) -> PayloadScan:
    """Return the scan of payloads with maps, or sets, of one type."""
    decoder = key_decoder(codec, kind, is_key=not of_sets)
    keys, values = ((), (decoder,)) if of_sets else ((decoder,), ())
    return PayloadScan(codec, guard=HashFloodGuard(codec, keys=keys, values=values))


def verdict(kind: Any, payload: bytes, codec: int = MSGPACK, *, of_sets: bool = False) -> str:
    return scan_of(kind, codec, of_sets=of_sets).scan(payload, max_items=2_000_000)[0]


def shuffled(keys: Iterable[Any]) -> list[Any]:
    found = list(keys)
    random.Random(1).shuffle(found)
    return found


def drawn(bits: int, count: int) -> list[int]:
    """Return random numbers, the same each time."""
    chance = random.Random(1)
    return [chance.getrandbits(bits) for _ in range(count)]


#: Keys are made when their test runs: whoever collects the tests would wait for them, in each process.
HOSTILE = [
    pytest.param(int, lambda: COLLIDING, id="numbers"),
    pytest.param(int, lambda: [*range(300), *COLLIDING], id="numbers behind others"),
    pytest.param(
        float, lambda: [m * 2.0 ** (61 * k) for m in range(1, 2_000, 2) for k in range(-15, 16)], id="floats"
    ),
    pytest.param(Decimal, lambda: alike_decimals(300), id="decimals"),
    pytest.param(
        Decimal, lambda: shuffled([*map(Decimal, range(3_000)), *alike_decimals(80)]), id="few decimals"
    ),
    pytest.param(tuple[int, int], alike_pairs, id="tuples"),
    pytest.param(tuple[int, ...], alike_pairs, id="long tuples"),
    pytest.param(
        tuple[str, Decimal], lambda: [("a", number) for number in alike_decimals(300)], id="tuples of text"
    ),
    pytest.param(Pair, alike_pairs, id="named tuples"),
    pytest.param(Place, lambda: [{"x": x, "y": y} for x, y in alike_pairs()], id="dataclasses"),
    pytest.param(Part, lambda: [Part(*pair) for pair in alike_pairs()], id="structs"),
    pytest.param(frozenset[Decimal], lambda: [[number] for number in alike_decimals(300)], id="frozen sets"),
    pytest.param(uuid.UUID, lambda: [uuid.UUID(int=5 + m * MODULUS) for m in range(300)], id="uuids"),
    pytest.param(
        uuid.UUID, lambda: [uuid.UUID(int=number).bytes for number in COLLIDING], id="uuids as bytes"
    ),
    pytest.param(int | Decimal | None, lambda: alike_decimals(300), id="unions"),
    pytest.param(Any, lambda: COLLIDING, id="untyped numbers"),
    pytest.param(Any, lambda: [("a", pair) for pair in alike_pairs()], id="untyped tuples"),
]

HONEST = [
    pytest.param(int, lambda: range(100_000), id="in a row"),
    pytest.param(int, lambda: range(0, -100_000, -1), id="negative"),
    pytest.param(int, lambda: [number**2 for number in range(100_000)], id="squares"),
    pytest.param(int, lambda: drawn(63, 100_000), id="random"),
    *(
        pytest.param(
            int, partial(range, 0, min(50_000 << bits, 1 << 63), 1 << bits), id=f"steps of 2**{bits}"
        )
        for bits in (8, 16, 22, 28, 32, 40, 44, 48)
    ),
    *(
        pytest.param(int, partial(range, 0, 50_000 * 10**digits, 10**digits), id=f"steps of 10**{digits}")
        for digits in (3, 6, 9, 12)
    ),
    pytest.param(float, lambda: [number / 100 for number in range(50_000)], id="prices"),
    pytest.param(float, lambda: [number / 1024 for number in range(50_000)], id="fractions"),
    pytest.param(float, lambda: [float("nan"), float("inf"), float("-inf"), *range(100)], id="no numbers"),
    pytest.param(Decimal, lambda: [Decimal(number) / 100 for number in range(50_000)], id="decimals"),
    pytest.param(
        tuple[int, int], lambda: [(x, y) for x in range(-100, 100) for y in range(-100, 100)], id="grid"
    ),
    pytest.param(
        tuple[int, int, int],
        lambda: [(x, y, z) for x in range(-20, 20) for y in range(-20, 20) for z in range(-20, 20)],
        id="space",
    ),
    pytest.param(tuple[str, int], lambda: [("a", number) for number in range(50_000)], id="tuples of text"),
    pytest.param(
        Place, lambda: [{"x": x, "y": y} for x in range(-70, 70) for y in range(70)], id="dataclasses"
    ),
    pytest.param(
        datetime.datetime,
        lambda: [DAY + datetime.timedelta(minutes=number) for number in range(50_000)],
        id="aware",
    ),
    pytest.param(
        datetime.timedelta, lambda: [datetime.timedelta(hours=number) for number in range(9_000)], id="spans"
    ),
    pytest.param(
        uuid.UUID,
        lambda: [uuid.UUID(int=number) for number in drawn(128, 9_000)],
        id="uuids",
    ),
    pytest.param(uuid.UUID, lambda: [uuid.UUID(int=number) for number in range(9_000)], id="uuids in a row"),
    pytest.param(int | str, lambda: [*range(5_000), *map(str, range(5_000))], id="unions"),
    pytest.param(
        Any, lambda: [*range(5_000), *map(str, range(5_000)), *[(n, "a") for n in range(5_000)]], id="untyped"
    ),
]


@pytest.mark.parametrize(("kind", "keys"), HOSTILE)
def test_keys_chosen_to_collide_are_refused(kind: Any, keys: Callable[[], list[Any]]) -> None:
    assert verdict(kind, packed_map(keys())) == "colliding keys"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param(int, lambda: [*range(200), *colliding_set_values(15, 18_000, 700)], id="numbers"),
        pytest.param(Any, lambda: colliding_set_values(15, 18_000, 700), id="untyped numbers"),
        pytest.param(Decimal, lambda: alike_decimals(300), id="decimals"),
        pytest.param(tuple[int, int], alike_pairs, id="tuples"),
        pytest.param(Place, lambda: [{"x": x, "y": y} for x, y in alike_pairs()], id="dataclasses"),
        pytest.param(uuid.UUID, lambda: [uuid.UUID(int=5 + m * MODULUS) for m in range(300)], id="uuids"),
    ],
)
@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_values_of_sets_chosen_to_collide_are_refused(
    codec: int, kind: Any, values: Callable[[], list[Any]]
) -> None:
    encode = msgspec.msgpack.encode if codec == MSGPACK else msgspec.json.encode
    made = values()
    for payload in (made, [1, {"a": made}], [*made, None]):
        assert verdict(kind, encode(payload), codec, of_sets=True) == "colliding keys"


@pytest.mark.parametrize(("kind", "keys"), HONEST)
def test_ordinary_keys_pass(kind: Any, keys: Callable[[], Iterable[Any]]) -> None:
    assert verdict(kind, packed_map(keys())) == "ok"


@pytest.mark.parametrize(("kind", "values"), HONEST)
def test_ordinary_values_of_sets_pass(kind: Any, values: Callable[[], Iterable[Any]]) -> None:
    assert verdict(kind, msgspec.msgpack.encode(list(values())), of_sets=True) == "ok"


def test_only_collisions_are_refused() -> None:
    assert verdict(int, packed_map(COLLIDING[:6_000])) == "ok"
    assert verdict(int, packed_map(COLLIDING[6_000:])) == "ok"
    assert verdict(int, packed_map(map(str, COLLIDING))) == "ok"
    assert verdict(int, msgspec.msgpack.encode(COLLIDING)) == "ok"
    assert verdict(int, packed_map(COLLIDING), of_sets=True) == "ok"


def test_equal_keys_do_not_collide() -> None:
    assert verdict(int, packed_map([COLLIDING[-1]] * 10_000)) == "ok"
    assert verdict(Decimal, packed_map(["1E0", "+1", "1", "1.0", "1.00"] * 2_000)) == "ok"


@pytest.mark.parametrize("spelling", ["{}", "+{}", "{}.0", "{}E0", "00{}", "{}e+0"])
def test_numbers_collide_in_any_spelling(spelling: str) -> None:
    keys = [spelling.format(number) for number in alike_decimals(300)]
    assert verdict(Decimal, packed_map(keys)) == "colliding keys"
    assert verdict(Decimal, json_map(keys), JSON) == "colliding keys"
    assert (
        verdict(Decimal, json_map([rf"\u{ord(key[0]):04x}{key[1:]}" for key in keys]), JSON)
        == "colliding keys"
    )


def test_sixty_four_keys_of_one_hash_pass_and_one_more_does_not() -> None:
    others = list(map(Decimal, range(10, 500)))
    for number, step in ((0, MODULUS), (0, -MODULUS), (5, MODULUS), (-1, -MODULUS)):
        for keys, found in ((64, "ok"), (65, "colliding keys")):
            alike = [Decimal(number + times * step) for times in range(keys)]
            for mixed in ([*others, *alike], [*alike, *others], shuffled([*others, *alike])):
                assert verdict(Decimal, packed_map(mixed)) == found
                assert verdict(Decimal, json_map(mixed), JSON) == found
                assert verdict(Decimal, msgspec.msgpack.encode(mixed), of_sets=True) == found


POWERS = [sign * 2.0**exponent for exponent in range(-975, 975) for sign in (1, -1)]


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        pytest.param(float, POWERS[::2], id="powers of two"),
        pytest.param(float, POWERS, id="powers of two of both signs"),
        pytest.param(float, [2.0**exponent for exponent in range(-1_074, 1_024)], id="all powers of two"),
        pytest.param(float | Decimal, POWERS, id="a union"),
        pytest.param(Any, POWERS, id="untyped"),
        pytest.param(tuple[float, float], [(power, 1.0) for power in POWERS], id="tuples"),
        pytest.param(
            Place, [{"x": 2**bit, "y": 2**other} for bit in range(62) for other in range(62)], id="bits"
        ),
        pytest.param(
            Decimal, [Decimal(n + k * MODULUS) for n in range(60) for k in range(64)], id="hash by hash"
        ),
        pytest.param(Decimal, [Decimal(n + k * MODULUS) for k in range(64) for n in range(60)], id="in turn"),
        pytest.param(int, [n + k * MODULUS for n in range(3_000) for k in range(4)], id="numbers"),
    ],
)
def test_thousands_of_keys_pass_with_up_to_sixty_four_of_each_hash(kind: Any, keys: list[Any]) -> None:
    for order in (keys, keys[::-1], shuffled(keys)):
        assert verdict(kind, packed_map(order)) == "ok"
        assert verdict(kind, msgspec.msgpack.encode(order), of_sets=True) == "ok"


def test_sets_of_many_hashes_with_sixty_four_keys_each_cost_no_more_than_is_allowed() -> None:
    """The work grows with the keys, not with their square."""
    for is_set, each in ((False, 64), (True, 256)):
        table = HashModel(is_set=is_set)
        assert table.weigh(Decimal(n + k * MODULUS) for n in range(1_000) for k in range(64))
        # 5,000: the misses that one key may add before they are counted: it meets 64 of its hash, some of them twice.
        assert table.misses < 2_500_000 + each * table.seen + 5_000


@pytest.mark.parametrize("depth", [1, 5])
def test_colliding_keys_are_found_in_a_map_at_any_depth(depth: int) -> None:
    payload = packed_map(COLLIDING)
    assert verdict(int, b"\x92\x01" * depth + payload) == "colliding keys"
    assert verdict(int, b"\x81\xa1a" * depth + payload) == "colliding keys"
    text = json_map(COLLIDING)
    assert verdict(int, b'[1,{"a":' * depth + text + b"}]" * depth, JSON) == "colliding keys"


def test_many_small_maps_are_added_up() -> None:
    small = packed_map(colliding_numbers(10, 400, 200))
    assert verdict(int, small) == "ok"
    assert verdict(int, b"\xdd" + (300).to_bytes(4, "big") + small * 300) == "colliding keys"


def test_a_last_key_of_another_type_does_not_hide_the_other_keys() -> None:
    """The decoder fills its dict up to there, too."""
    for wrong in ("text", None, [1], 1.5):
        assert verdict(int, packed_map([*COLLIDING, wrong])) == "colliding keys"
    assert verdict(int, json_map([*COLLIDING, "text"]), JSON) == "colliding keys"
    assert verdict(int, packed_map(["text", *COLLIDING])) == "ok"


def test_an_unclosed_json_map_hides_no_keys() -> None:
    assert verdict(int, json_map(COLLIDING)[:-1], JSON) == "colliding keys"
    assert verdict(int, b'[1,{"a":' + json_map(COLLIDING)[:-1] + b",", JSON) == "colliding keys"


def test_untyped_keys_of_json_are_text() -> None:
    scan = PayloadScan(MSGPACK, guard=untyped_guard())
    assert scan.scan(packed_map(COLLIDING))[0] == "colliding keys"
    assert PayloadScan(JSON).scan(json_map(COLLIDING))[0] == "ok"


def test_the_scan_without_a_guard_looks_at_no_keys() -> None:
    assert PayloadScan(MSGPACK).scan(packed_map(COLLIDING))[0] == "ok"


@dataclass(frozen=True)
class Spiteful:
    number: int

    def __hash__(self) -> int:
        return 5

    def __eq__(self, other: object) -> bool:
        raise LookupError("compared")


def test_an_error_of_a_comparison_is_the_programs() -> None:
    with pytest.raises(LookupError, match="compared"):
        verdict(Spiteful, packed_map({"number": number} for number in range(200)))


def test_the_work_for_keys_that_pass_is_in_proportion() -> None:
    for is_set in (False, True):
        table = HashModel(is_set=is_set)
        assert not table.weigh(range(50_000))
        assert table.misses <= 2 * table.seen == 100_000


def test_the_work_for_keys_that_collide_ends_early() -> None:
    table = HashModel(is_set=False)
    assert table.weigh(alike_decimals(100_000))
    assert table.seen == 65


def seconds_of(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return min(times)


@pytest.mark.measures
@pytest.mark.parametrize(
    ("collect", "make", "is_set"),
    [
        pytest.param(dict.fromkeys, partial(colliding_numbers, 17, 50_000, 1_000), False, id="dict"),
        pytest.param(set, partial(colliding_set_values, 17, 70_000, 800), True, id="set"),
    ],
)
def test_refusals_are_fast_for_payloads_that_would_take_long(
    collect: Callable[[Any], Any], make: Callable[[], tuple[int, ...]], is_set: bool
) -> None:
    """Should a dict or a set walk otherwise some day, these keys would be nothing special and the count wrong."""
    hostile = make()
    assert HashModel(is_set=is_set).weigh(hostile)
    honest = list(range(len(hostile)))
    filling = seconds_of(lambda: collect(hostile))
    assert filling > 10 * seconds_of(lambda: collect(honest))
    assert seconds_of(lambda: HashModel(is_set=is_set).weigh(hostile)) < filling

"""The decoding work of the search for colliding keys: a few times the payload, for any payload."""

import uuid
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.hash_flood import HashFloodGuard, key_decoder
from tests.support.colliding import colliding_set_values
from tests.support.colliding_payloads import packed_map

MSGPACK, JSON = 1, 2


class Work:
    """Counts the calls of decoders and the bytes they get."""

    def __init__(self) -> None:
        self.calls = 0
        self.decoded = 0

    def counted(self, decode: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def decode_and_count(payload: bytes) -> Any:
            self.calls += 1
            self.decoded += len(payload)
            return decode(payload)

        return decode_and_count


def looked_at(
    payload: bytes, codec: int = MSGPACK, *, keys: tuple[Any, ...] = (), values: tuple[Any, ...] = ()
) -> tuple[str, Work]:
    """Scan a payload for keys of these types; return the findings, and the work."""
    work = Work()
    guard = HashFloodGuard(
        codec,
        keys=tuple(work.counted(key_decoder(codec, kind)) for kind in keys),
        values=tuple(work.counted(key_decoder(codec, kind, is_key=False)) for kind in values),
    )
    found, _ = PayloadScan(codec, guard=guard).scan(payload, max_items=2_000_000)
    return found, work


def array(entries: list[bytes]) -> bytes:
    return b"\xdd" + len(entries).to_bytes(4, "big") + b"".join(entries)


def nested_keys(depth: int) -> bytes:
    """Return maps of 200 keys, the last key of each the next map."""
    body = array([b"\x01"] * 50_000)
    others = packed_map(range(199))[3:]
    for _ in range(depth):
        body = b"\xde\x00\xc8" + others + body + b"\xc0"
    return body


def nested_values(depth: int, *, first: bool = False) -> bytes:
    """Return arrays of 182 values, the last or first value of each the next array."""
    body = array([b"\x01"] * 50_000)
    others = [b"\x01"] * 181
    for _ in range(depth):
        body = array([body, *others] if first else [*others, body])
    return body


def nested_text(depth: int) -> bytes:
    body = b"[" + b",".join([b"1"] * 50_000) + b"]"
    for _ in range(depth):
        body = b"[" + b"1," * 181 + body + b"]"
    return body


@pytest.mark.parametrize("depth", [10, 90])
@pytest.mark.parametrize("kind", [Any, tuple[Any, ...], int | tuple[Any, ...]])
@pytest.mark.parametrize("first", [False, True])
def test_values_in_values_are_refused_before_they_are_decoded_often(
    depth: int, kind: Any, first: bool
) -> None:
    payload = nested_values(depth, first=first)
    found, work = looked_at(payload, values=(kind,))
    assert found == ("ok" if kind == tuple[Any, ...] and not first else "overlapping keys")
    assert work.decoded < 6 * len(payload)


@pytest.mark.parametrize("depth", [1, 10, 90])
def test_maps_as_keys_are_decoded_once_for_each_level_and_refused_if_these_are_many(depth: int) -> None:
    payload = nested_keys(depth)
    found, work = looked_at(payload, keys=(Any,))
    assert found == ("ok" if depth == 1 else "overlapping keys")
    assert work.decoded < (2 if depth == 1 else 6) * len(payload)


@pytest.mark.parametrize("kind", [int, Any])
def test_values_in_values_of_json_are_bounded_too(kind: Any) -> None:
    payload = nested_text(90)
    found, work = looked_at(payload, JSON, values=(kind,))
    assert found == ("ok" if kind is int else "overlapping keys")
    assert work.decoded < 6 * len(payload)


@pytest.mark.parametrize("first", [False, True])
def test_of_a_large_entry_that_cannot_be_of_the_type_only_the_head_is_decoded(first: bool) -> None:
    payload = nested_values(90, first=first)
    found, work = looked_at(payload, values=(int,))
    assert found == "ok"
    assert work.decoded < 2 * len(payload)


@pytest.mark.parametrize("count", [1, 3])
def test_one_key_shows_that_a_type_does_not_match_the_map(count: int) -> None:
    payload = array([packed_map(range(65))] * 3_000)
    found, work = looked_at(payload, keys=(uuid.UUID, datetime, Decimal)[:count])
    assert found == "ok"
    matching = 8 if count == 3 else 0
    assert work.calls <= 3_000 * (min(count, 2) + matching)


def test_a_key_of_another_type_is_found_at_any_place_with_few_calls() -> None:
    for place in (*range(1, 70), 500, 1_999):
        keys: list[Any] = list(range(2_000))
        keys[place] = "text"
        payload = packed_map(keys)
        found, work = looked_at(payload, keys=(int,))
        assert found == "ok", place
        assert work.calls <= 80, place
        assert work.decoded < 3 * len(payload), place


def deep_tables(width: int, *inner: int) -> dict[int, Any]:
    return {number * 1_000: deep_tables(*inner) if inner else "text" for number in range(width)}


@pytest.mark.parametrize(
    ("made", "keys", "values"),
    [
        pytest.param(lambda: deep_tables(70, 3, 3, 3, 70), (int,), (), id="maps in maps"),
        pytest.param(
            lambda: {n: {m: {1: "text"} for m in range(100)} for n in range(700)}, (int,), (), id="3 levels"
        ),
        pytest.param(
            lambda: {(x, y): x for x in range(300) for y in range(300)}, (tuple[int, int],), (), id="tuples"
        ),
        pytest.param(
            lambda: {tuple(range(n, n + 80)): n for n in range(2_000)},
            (tuple[int, ...],),
            (),
            id="long tuples",
        ),
        pytest.param(lambda: {(n, ("a", (n, 1))): n for n in range(20_000)}, (Any,), (), id="untyped tuples"),
        pytest.param(
            lambda: [[x, y] for x in range(300) for y in range(300)],
            (),
            (tuple[int, int],),
            id="set of pairs",
        ),
        pytest.param(
            lambda: [list(range(n, n + 80)) for n in range(2_000)],
            (),
            (tuple[int, ...], int),
            id="set of long tuples",
        ),
        pytest.param(
            lambda: [[[1] * 70 for _ in range(70)] for _ in range(70)], (), (int,), id="lists beside sets"
        ),
        pytest.param(
            lambda: [[[1] * 70 for _ in range(70)] for _ in range(70)], (), (Any,), id="lists beside any sets"
        ),
        pytest.param(lambda: [[1, "text", *range(68)] for _ in range(9_000)], (), (int,), id="mixed rows"),
        pytest.param(
            lambda: {n: n for n in range(90_000)}, (int, float, Decimal, Any), (), id="many types that fit"
        ),
    ],
)
def test_honest_payloads_pass_for_a_few_times_their_size(
    made: Callable[[], Any], keys: tuple[Any, ...], values: tuple[Any, ...]
) -> None:
    payload = msgspec.msgpack.encode(made())
    found, work = looked_at(payload, keys=keys, values=values)
    assert found == "ok"
    assert work.decoded < 3 * len(payload) * len(keys + values)


def test_a_set_within_a_key_is_looked_at_before_the_key_is_decoded() -> None:
    flood = colliding_set_values(15, 18_000, 700)
    payload = array([*[array([bytes([number])]) for number in range(100)], msgspec.msgpack.encode(flood)])
    found, work = looked_at(payload, values=(frozenset[int], int))
    assert found == "colliding keys"
    # Once as numbers; as a set they are not decoded.
    assert work.decoded < 1.2 * len(payload)

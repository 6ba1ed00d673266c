"""Which entries of long maps and arrays the pre-scan notes, and where they lie."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrpc._core.payload.prescan import noted_entries
from tests.conftest import SCALE

MSGPACK, JSON = 1, 2


def packed(codec: int, value: Any) -> bytes:
    return json.dumps(value).encode() if codec == JSON else msgpack.packb(value)


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_up_to_64_entries_are_not_noted(codec: int) -> None:
    assert noted_entries(codec, packed(codec, {str(number): 0 for number in range(64)})) == []
    assert noted_entries(codec, packed(codec, list(range(64)))) == []


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_the_keys_of_a_longer_map_are_noted(codec: int) -> None:
    keys = [f"key {number}" for number in range(65)]
    found = noted_entries(codec, packed(codec, {key: [1, {"a": 2}] for key in keys}))
    assert found == [("map", [packed(codec, key) for key in keys])]


def test_keys_of_msgpack_may_be_anything() -> None:
    keys = [*range(60), "text", b"bytes", 1.5, None, (1, (2, 3)), (4,)]
    found = noted_entries(MSGPACK, msgpack.packb({key: {1: (2,)} for key in keys}))
    assert found == [("map", [msgpack.packb(key) for key in keys])]


def test_texts_and_bytes_can_be_left_out() -> None:
    keys = [value for number in range(100) for value in (number, str(number), (number, "a"), b"%d" % number)]
    table = {key: [{"a": 1}] for key in keys}
    [(kind, found)] = noted_entries(MSGPACK, msgpack.packb({"outer": table, "x" * 300: 1}), texts=False)
    assert kind == "map"
    assert found == [msgpack.packb(key) for key in keys if not isinstance(key, str | bytes)]
    assert noted_entries(MSGPACK, msgpack.packb({str(key): 0 for key in keys}), texts=False) == []
    outer = {number: {str(key): 0 for key in range(100)} for number in range(65)}
    assert noted_entries(MSGPACK, msgpack.packb(outer), texts=False) == [
        ("map", [msgpack.packb(number) for number in range(65)])
    ]


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_the_values_of_a_longer_array_are_noted(codec: int) -> None:
    values = [[number, "x"] for number in range(65)]
    [(kind, entries)] = noted_entries(codec, packed(codec, values))
    assert kind == "array"
    assert [entry.rstrip(b", ") for entry in entries] == [packed(codec, value) for value in values]


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
def test_inner_containers_come_first(codec: int) -> None:
    inner = {str(number): 0 for number in range(70)}
    outer = {f"outer {number}": inner if number == 3 else [1, 2] for number in range(80)}
    found = noted_entries(codec, packed(codec, [outer, 5]))
    assert [(kind, len(entries)) for kind, entries in found] == [("map", 70), ("map", 80)]
    assert found[1][1] == [packed(codec, key) for key in outer]


@pytest.mark.parametrize("codec", [MSGPACK, JSON])
@pytest.mark.parametrize(("asked", "kinds"), [({"arrays": False}, ["map"]), ({"maps": False}, ["array"])])
def test_only_the_requested_entries_are_noted(codec: int, asked: Any, kinds: list[str]) -> None:
    value = [{str(number): 0 for number in range(70)}, list(range(70))]
    assert [kind for kind, _ in noted_entries(codec, packed(codec, value), **asked)] == kinds


def test_entries_of_unclosed_json_are_noted() -> None:
    payload = b'[1,{"a":{' + b",".join(b'"%d" : 0' % number for number in range(70))
    assert [entries for _, entries in noted_entries(JSON, payload)] == [[b'"%d"' % n for n in range(70)]]


def test_escapes_in_keys_of_json_do_not_end_them() -> None:
    keys = [f'"\\{number}' for number in range(70)]
    found = noted_entries(JSON, json.dumps(dict.fromkeys(keys, '":"')).encode())
    assert [json.loads(entry) for entry in found[0][1]] == keys


values = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=5).map(lambda part: part * 20)
        | st.lists(inner, max_size=3).map(lambda part: {str(n): part for n in range(70)})
    ),
    max_leaves=6,
)


def long_parts(value: Any) -> list[tuple[str, list[Any]]]:
    """Return the entries of long containers in a value, inner ones first."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    found = [part for each in inner for part in long_parts(each)]
    if len(inner) > 64:
        found.append(("map", list(value)) if isinstance(value, dict) else ("array", value))
    return found


# Such values are large, and take a tenth of a second each.
@settings(max_examples=max(10, round(20 * SCALE)))
@given(values)
def test_noted_entries_are_those_of_the_value(value: Any) -> None:
    for codec, read in ((MSGPACK, msgpack.unpackb), (JSON, lambda text: json.loads(text.rstrip(b", ")))):
        found = noted_entries(codec, packed(codec, value))
        assert [(kind, [read(entry) for entry in entries]) for kind, entries in found] == long_parts(value)

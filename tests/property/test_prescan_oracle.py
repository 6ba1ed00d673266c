"""The pre-scan against the decoders: the same counts for good payloads, never more lenient for bad ones."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgpack
import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from fastrpc._core.payload.prescan import prescan_payload

MSGPACK, JSON = 1, 2
UNLIMITED = 2**62

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=40), inner, max_size=20),
    max_leaves=60,
)
extensions = st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=300))
msgpack_values = st.recursive(
    scalars | st.binary(max_size=300) | extensions,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(scalars | st.binary(), inner, max_size=20),
    max_leaves=60,
)


def measure(value: Any) -> tuple[int, int, int]:
    """Return depth, items and containers of a decoded value."""
    if isinstance(value, dict):
        inner = [measure(each) for each in value.values()]
        own_items = 2 * len(value)
    elif isinstance(value, list):
        inner = [measure(each) for each in value]
        own_items = len(value)
    else:
        return 0, 0, 0
    return (
        1 + max((depth for depth, _, _ in inner), default=0),
        own_items + sum(items for _, items, _ in inner),
        1 + sum(containers for _, _, containers in inner),
    )


def texts_of(value: Any) -> Iterator[str]:
    """Yield the texts in a decoded value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from texts_of([each for pair in value.items() for each in pair])
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)


def growth_of(text: str, size: int) -> int:
    """Return by how many bytes the signs of a `str` outweigh `size` bytes of a payload."""
    highest = max(map(ord, text), default=0)
    return max(0, (4 if highest > 0xFFFF else 2 if highest > 0xFF else 1) * len(text) - size)


def size_in_msgpack(text: str) -> int:
    """Return the bytes of a text; 0 where it is too short for its growth to count."""
    size = len(text.encode())
    return size if size >= 63 else 0


def size_in_json(text: str, *, ascii_only: bool) -> int:
    size = len(json.dumps(text, ensure_ascii=ascii_only).encode()) - 2
    return size if size >= 64 else 0


def check_against_oracle(codec_id: int, payload: bytes, value: Any, size_of: Callable[[str], int]) -> None:
    depth, items, containers = measure(value)
    growth = sum(growth_of(text, size) for text in texts_of(value) if (size := size_of(text)))
    whole = ("ok", len(payload) + 72 * containers + growth)
    assert prescan_payload(codec_id, payload, max_depth=depth, max_items=items) == whole
    if depth:
        assert prescan_payload(codec_id, payload, max_depth=depth - 1, max_items=items)[0] == "too deep"
    if items:
        assert prescan_payload(codec_id, payload, max_depth=depth, max_items=items - 1)[0] == "too many items"


@given(msgpack_values)
def test_msgpack_counts_match_the_value(value: Any) -> None:
    check_against_oracle(MSGPACK, msgpack.packb(value), value, size_in_msgpack)


@given(json_values, st.booleans(), st.sampled_from([None, 0, 2, "\t"]))
def test_json_counts_match_the_value(value: Any, ascii_only: bool, indent: Any) -> None:
    payload = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "replace")
    check_against_oracle(JSON, payload, value, partial(size_in_json, ascii_only=ascii_only))


@given(st.binary(max_size=2000))
def test_msgpack_that_the_decoder_takes_is_never_malformed(payload: bytes) -> None:
    found, _ = prescan_payload(MSGPACK, payload, max_depth=1024, max_items=UNLIMITED)
    try:
        msgspec.msgpack.decode(payload)
    except Exception:
        return
    assert found == "ok"


@given(msgpack_values, st.data())
def test_msgpack_cut_short_is_malformed(value: Any, data: st.DataObject) -> None:
    payload = msgpack.packb(value)
    cut = payload[: data.draw(st.integers(0, len(payload) - 1))]
    assert prescan_payload(MSGPACK, cut, max_depth=1024, max_items=UNLIMITED)[0] == "malformed"


json_pieces = st.lists(
    st.sampled_from(
        ['"', "\\", "[", "]", "{", "}", ",", ":", " ", "1", "-", "true", "a", "\n", '\\"', '""', "é"]
    )
)


def strict_pairs(pairs: list[tuple[str, Any]]) -> list[Any]:
    """Return an object as a list, so that keys given twice count twice."""
    return [entry for pair in pairs for entry in pair]


@given(json_pieces.map("".join))
@example('["\\\\"]')
@example('[{"a":[]},"\\\\\\""]')
def test_json_of_any_pieces_is_counted_as_the_decoder_sees_it(text: str) -> None:
    payload = text.encode()
    try:
        # All data before the place of an error was decoded, so its content must be counted too.
        value = json.loads(text, object_pairs_hook=strict_pairs)
    except ValueError:
        prescan_payload(JSON, payload)
        return
    # All of its signs are Latin-1: none is larger than its bytes.
    check_against_oracle(JSON, payload, value, lambda _: 0)


@given(msgpack_values, st.data())
def test_mutated_msgpack_within_the_limits_is_decoded_within_them(value: Any, data: st.DataObject) -> None:
    payload = bytearray(msgpack.packb(value))
    for place in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=4)):
        payload[place] = data.draw(st.integers(0, 255))
    depth, items = 4, 50
    if prescan_payload(MSGPACK, payload, max_depth=depth, max_items=items)[0] != "ok":
        return
    try:
        pairs = msgpack.unpackb(payload, strict_map_key=False, object_pairs_hook=strict_pairs)
    except Exception:
        return
    measured_depth, measured_items, _ = measure(pairs)
    assert measured_depth <= depth
    assert measured_items <= items

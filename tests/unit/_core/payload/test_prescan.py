"""The pre-scan, and the positions that it notes."""

import json
import sys
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastrpc._core.payload.prescan import noted_entries, prescan_payload
from tests.conftest import SCALE
from tests.support.stopwatch import fastest

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
def test_noted_entries_match_the_value(value: Any) -> None:
    for codec, read in ((MSGPACK, msgpack.unpackb), (JSON, lambda text: json.loads(text.rstrip(b", ")))):
        found = noted_entries(codec, packed(codec, value))
        assert [(kind, [read(entry) for entry in entries]) for kind, entries in found] == long_parts(value)


MSGPACK, JSON = 1, 2
CONTAINER = 72
MIB = 1024 * 1024

ENCODE: dict[int, Callable[[Any], bytes]] = {MSGPACK: msgspec.msgpack.encode, JSON: msgspec.json.encode}


@pytest.fixture(params=[MSGPACK, JSON], ids=["msgpack", "json"])
def codec_id(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def nested(codec_id: int, depth: int) -> bytes:
    return b"\x91" * (depth - 1) + b"\x90" if codec_id == MSGPACK else b"[" * depth + b"]" * depth


def result(codec_id: int, payload: bytes, **limits: int) -> str:
    return prescan_payload(codec_id, payload, **limits)[0]


@pytest.mark.parametrize(
    "value", [None, True, 0, -1, 2**40, 1.5, "", "a", "a" * 300, [], {}, [1, {"a": [2]}]]
)
def test_plain_values_pass(codec_id: int, value: Any) -> None:
    assert result(codec_id, ENCODE[codec_id](value)) == "ok"


def test_depth_at_the_limit_passes_and_one_more_does_not(codec_id: int) -> None:
    assert result(codec_id, nested(codec_id, 100), max_depth=100) == "ok"
    assert result(codec_id, nested(codec_id, 101), max_depth=100) == "too deep"


def test_depth_zero_lets_only_scalars_pass(codec_id: int) -> None:
    assert result(codec_id, ENCODE[codec_id]("a"), max_depth=0) == "ok"
    assert result(codec_id, ENCODE[codec_id]([]), max_depth=0) == "too deep"


def test_depth_goes_down_again_after_a_container(codec_id: int) -> None:
    assert result(codec_id, ENCODE[codec_id]([[[1]], [[2]], [[3]]]), max_depth=3) == "ok"


def test_depth_limit_above_1024_counts_as_1024(codec_id: int) -> None:
    assert result(codec_id, nested(codec_id, 1024), max_depth=2**31 - 1) == "ok"
    assert result(codec_id, nested(codec_id, 1025), max_depth=2**31 - 1) == "too deep"


@pytest.mark.parametrize(
    ("value", "items"),
    [([], 0), ([1, 2, 3], 3), ({"a": 1, "b": 2}, 4), ([[], {}], 2), ([{"a": [1, "b", None]}], 6), ("a", 0)],
)
def test_elements_keys_and_values_are_items(codec_id: int, value: Any, items: int) -> None:
    payload = ENCODE[codec_id](value)
    assert result(codec_id, payload, max_items=items) == "ok"
    if items:
        assert result(codec_id, payload, max_items=items - 1) == "too many items"


def test_charge_is_wire_bytes_and_72_a_container(codec_id: int) -> None:
    payload = ENCODE[codec_id]([{}, [1], "text"])
    assert prescan_payload(codec_id, payload) == ("ok", len(payload) + 3 * CONTAINER)


@pytest.mark.parametrize("codec_id", [0, 3, 64, 255, -1])
def test_other_codecs_are_not_read(codec_id: int) -> None:
    assert prescan_payload(codec_id, b"\x91" * 5000) == ("ok", 5000)


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_payload_may_be_any_buffer(buffer: Any) -> None:
    assert result(MSGPACK, buffer(b"\x92\x01\x02")) == "ok"


@pytest.mark.parametrize("payload", ["text", None, 5, [1]])
def test_anything_but_bytes_is_a_type_error(payload: Any) -> None:
    with pytest.raises(TypeError):
        prescan_payload(MSGPACK, payload)


def test_buffer_that_is_not_contiguous_is_refused() -> None:
    with pytest.raises(BufferError):
        prescan_payload(MSGPACK, memoryview(b"\x91\x01\x91\x01")[::2])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        b"\x91",
        b"\x92\x01",
        b"\x81\xa1a",
        b"\xa1",
        b"\xbf" + bytes(30),
        *(bytes([lead]) for lead in range(0xC4, 0xC7)),
        *(bytes([lead]) for lead in range(0xC7, 0xE0)),
        b"\xc4\x02a",
        b"\xc5\x00\x02a",
        b"\xc6\x00\x00\x00\x02a",
        b"\xc7\x01\x05",
        b"\xc8\x00\x01\x05",
        b"\xc9\x00\x00\x00\x01\x05",
        b"\xd8\x05" + bytes(15),
        b"\xcb" + bytes(7),
        b"\xd3" + bytes(7),
        b"\xda\x00",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff",
    ],
)
def test_msgpack_that_runs_out_is_malformed(payload: bytes) -> None:
    assert result(MSGPACK, payload) == "malformed"


@pytest.mark.parametrize("lead", [b"\xdd", b"\xdf"])
@pytest.mark.parametrize("count", [500_001, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
def test_announced_count_is_refused_before_its_elements_are_looked_for(lead: bytes, count: int) -> None:
    expected = "too many items" if lead == b"\xdf" or count > 1_000_000 else "malformed"
    assert result(MSGPACK, lead + count.to_bytes(4, "big")) == expected


def test_counts_of_sisters_add_up() -> None:
    half = b"\xdc\x80\x00" + b"\x00" * 0x8000
    assert result(MSGPACK, b"\x92" + half + half, max_items=0x10002) == "ok"
    assert result(MSGPACK, b"\x92" + half + half, max_items=0x10001) == "too many items"


@pytest.mark.parametrize(
    ("payload", "items"),
    [
        (rb'"[[[[{{{"', 0),
        (rb'["\"[[","\\",[],"\\\"{"]', 4),
        (b' [ 1 ,\t2\r\n, { "a" : -1.5e3 } ] ', 5),
        (b"[true,false,null]", 3),
        (b'{"a":{"b":{}}}', 4),
        (b"[]]]]]]", 0),
        (b"]", 0),
        (b"", 0),
        (b'["abc', 1),
        (b'["abc\\', 1),
        (b'["abc\\"', 1),
    ],
)
def test_json_text_is_read_as_the_decoder_reads_it(payload: bytes, items: int) -> None:
    assert result(JSON, payload, max_items=items, max_depth=3) == "ok"
    if items:
        assert result(JSON, payload, max_items=items - 1) == "too many items"


@pytest.mark.measures
def test_nesting_a_million_deep_is_refused_at_once_on_a_small_stack(codec_id: int) -> None:
    payload = nested(codec_id, 1_000_000)
    results: list[str] = []
    seconds: list[float] = []

    def scan() -> None:
        results.append(result(codec_id, payload))
        results.append(result(codec_id, payload, max_depth=1024))
        seconds.append(fastest(lambda: prescan_payload(codec_id, payload)))

    before = threading.stack_size(64 * 1024)
    try:
        thread = threading.Thread(target=scan)
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert results == ["too deep", "too deep"]
    assert seconds[0] <= 0.005


@pytest.mark.measures
@pytest.mark.parametrize(
    ("codec_id", "made"),
    [
        (MSGPACK, lambda: b"\xdd\x01\x00\x00\x00" + b"\x80" * (16 * MIB)),
        (MSGPACK, lambda: b"\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x80" * 0xFFFF) * 256),
        (JSON, lambda: b"[" + b"{}," * (5 * MIB) + b"{}]"),
    ],
    ids=["announced", "spread", "json"],
)
def test_16_mib_of_empty_maps_are_refused_without_the_memory(
    codec_id: int, made: Callable[[], bytes]
) -> None:
    payload = made()
    tracemalloc.start()
    try:
        assert result(codec_id, payload) == "too many items"
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024
    finally:
        tracemalloc.stop()
    assert fastest(lambda: prescan_payload(codec_id, payload)) <= 0.05


@pytest.mark.measures
@pytest.mark.parametrize("filling", [b"\\", b'\\"', b'\\\\"x"', b" ", b"1", b"\xff"])
def test_json_scan_takes_time_in_proportion(filling: bytes) -> None:
    small = b'["' + filling * (64 * 1024 // len(filling))
    large = b'["' + filling * (4 * MIB // len(filling))
    # 64 times the bytes: a scan that went back over read bytes would take 4,096 times as long.
    seconds_each = fastest(lambda: prescan_payload(JSON, small, max_items=2**40))
    assert fastest(lambda: prescan_payload(JSON, large, max_items=2**40)) <= 640 * seconds_each


#: Letters of ASCII, of Latin-1, of one plane and of another.
SIGNS = "aé€\U0001f600"


def charged(codec: int, payload: bytes) -> int:
    """Return the charge without the charge of containers."""
    name, charge = prescan_payload(codec, payload)
    assert name == "ok"
    return charge


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("place", ["start", "middle", "end"])
@pytest.mark.parametrize("way", ["msgpack", "JSON", "escaped JSON"])
def test_a_long_text_is_charged_with_its_size_in_memory(way: str, place: str, sign: str) -> None:
    letters = {"start": 0, "middle": 500, "end": 1_000}[place]
    text = "a" * letters + sign + "a" * (1_000 - letters)
    taken = sys.getsizeof(text) - sys.getsizeof(sign) + sys.getsizeof("a")
    payload = (
        msgpack.packb(text) if way == "msgpack" else json.dumps(text, ensure_ascii=way != "JSON").encode()
    )
    charge = charged(MSGPACK if way == "msgpack" else JSON, payload)
    assert taken - 100 <= charge <= max(taken, len(payload)) + 20


@settings(max_examples=max(50, round(200 * SCALE)))
@given(st.text(min_size=30, max_size=300), st.booleans())
def test_no_text_takes_more_memory_than_it_is_charged(text: str, ascii: bool) -> None:
    # The growth of a text by one sign is the memory of a sign.
    width = 1 if text.isascii() or max(text) < "\u0100" else 2 if max(text) < "\U00010000" else 4
    for codec, payload in (
        (MSGPACK, msgpack.packb(text)),
        (JSON, json.dumps(text, ensure_ascii=ascii).encode()),
    ):
        if len(payload) >= 70:
            assert charged(codec, payload) >= width * len(text)


@pytest.mark.parametrize("value", [b"\xf0\x9f\x98\x80" * 100, [1.5] * 200, {"a": None}])
def test_only_texts_grow(value: Any) -> None:
    payload = msgpack.packb(value)
    assert charged(MSGPACK, payload) == len(payload) + 72 * (not isinstance(value, bytes))


def test_a_short_text_is_charged_with_its_bytes() -> None:
    for payload in (msgpack.packb(["\U0001f600" + "a" * 50] * 10), json.dumps(["\u20ac" * 8] * 10).encode()):
        codec = JSON if payload[:1] == b"[" else MSGPACK
        assert charged(codec, payload) == len(payload) + 72


@pytest.mark.parametrize("end", ["\\", "\\u", "\\uD8", "\\uD83D\\uDE0"])
def test_a_text_that_ends_in_an_escape_is_read_to_its_end_only(end: str) -> None:
    payload = b'"' + b"a" * 100 + end.encode() + b'"'
    assert prescan_payload(JSON, payload)[1] >= len(payload)

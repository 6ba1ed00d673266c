"""What the pre-scan lets through and what it stops, at which byte and at which cost."""

import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fastrpc._core.payload.prescan import prescan_payload
from tests.support.stopwatch import fastest

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


def test_depth_goes_down_again_behind_a_container(codec_id: int) -> None:
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
    ("codec_id", "payload"),
    [
        (MSGPACK, b"\xdd\x01\x00\x00\x00" + b"\x80" * (16 * MIB)),
        (MSGPACK, b"\xdc\xff\xff" + (b"\xdc\xff\xff" + b"\x80" * 0xFFFF) * 256),
        (JSON, b"[" + b"{}," * (5 * MIB) + b"{}]"),
    ],
    ids=["announced", "spread", "json"],
)
def test_16_mib_of_empty_maps_are_refused_without_the_memory(codec_id: int, payload: bytes) -> None:
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
    # 64 times the bytes: a scan that went back over what it has read would take 4,096 times as long.
    seconds_each = fastest(lambda: prescan_payload(JSON, small, max_items=2**40))
    assert fastest(lambda: prescan_payload(JSON, large, max_items=2**40)) <= 640 * seconds_each

"""Plain values to bytes of a message."""

import struct
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fastrpc._core.protobuf.message_encoder import MessageEncoder
from fastrpc.errors import EncodeError
from fastrpc.rpc.protobuf.messages import DURATION, EMPTY, TIMESTAMP, VALUE, ProtoMessage
from tests.support.tables import encoded, field, message

PAIR = message(field("id", 1, "int64"), field("name", 2, "string"))


def test_zeros_are_left_out() -> None:
    assert encoded(PAIR, {"id": 0, "name": ""}) == b""
    assert encoded(PAIR, {"id": 1, "name": "x"}) == b"\x08\x01\x12\x01x"


def test_a_zero_is_written_where_absence_is_something_else() -> None:
    table = message(field("id", 1, "int64", is_optional=True), field("name", 2, "string", is_optional=True))
    assert encoded(table, {"id": 0, "name": ""}) == b"\x08\x00\x12\x00"
    assert encoded(table, {}) == b""


def test_none_omits_an_optional_field() -> None:
    table = message(field("id", 1, "int64", is_optional=True, takes_none=True))
    assert encoded(table, {"id": None}) == b""
    with pytest.raises(EncodeError, match=r"^Sample.id: expected int64, got None$"):
        encoded(PAIR, {"id": None})


def test_unknown_keys_are_skipped_with_their_values() -> None:
    other: Any = [{"a": [1, -200, 2.5, None, True, b"x", "y" * 300]}, datetime.now(UTC), {}, [[]]]
    assert encoded(PAIR, {"other": other, "id": 1, 5: other, "name": "x"}) == b"\x08\x01\x12\x01x"


def test_keys_come_in_any_order() -> None:
    assert encoded(PAIR, {"name": "x", "id": 1}) == b"\x12\x01x\x08\x01"


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 70_000, 2_100_000])
def test_the_length_of_a_message_has_as_many_bytes_as_it_needs(size: int) -> None:
    inner = ProtoMessage("Inner", "map")
    inner.fields = [field("data", 1, "bytes", is_optional=True)]
    table = message(field("inner", 1, "message", message=inner), field("id", 2, "int64"))
    payload = encoded(table, {"inner": {"data": b"x" * size}, "id": 1})
    data = _sized(b"\x0a", b"x" * size)
    assert payload == _sized(b"\x0a", data) + b"\x10\x01"


def _sized(tag: bytes, content: bytes) -> bytes:
    size, rest = bytearray(), len(content)
    while rest >= 0x80:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return tag + bytes([*size, rest]) + content


def test_lists_of_numbers_are_packed_and_empty_ones_left_out() -> None:
    table = message(field("a", 1, "int64", "repeated"), field("b", 2, "string", "repeated"))
    assert encoded(table, {"a": [1, 300, -1], "b": ["", "x"]}) == (
        b"\x0a\x0d\x01\xac\x02" + b"\xff" * 9 + b"\x01" + b"\x12\x00\x12\x01x"
    )
    assert encoded(table, {"a": [], "b": []}) == b""


def test_entries_of_a_map_have_key_and_value() -> None:
    entry = ProtoMessage("Entry", "entry")
    entry.fields = [
        field("key", 1, "string", is_always_written=True),
        field("value", 2, "int64", is_always_written=True),
    ]
    table = message(field("m", 1, "message", "map", message=entry))
    assert encoded(table, {"m": {"": 0, "k": 5}}) == b"\x0a\x04\x0a\x00\x10\x00\x0a\x05\x0a\x01k\x10\x05"


@pytest.mark.parametrize(
    ("kind", "value", "payload"),
    [
        ("int32", -1, b"\x08" + b"\xff" * 9 + b"\x01"),
        ("int64", -(2**63), b"\x08" + b"\x80" * 9 + b"\x01"),
        ("uint64", 2**64 - 1, b"\x08" + b"\xff" * 9 + b"\x01"),
        ("sint32", -2, b"\x08\x03"),
        ("sint64", -(2**63), b"\x08" + b"\xff" * 9 + b"\x01"),
        ("fixed32", 2**32 - 1, b"\x0d\xff\xff\xff\xff"),
        ("sfixed32", -1, b"\x0d\xff\xff\xff\xff"),
        ("fixed64", 2**64 - 1, b"\x09" + b"\xff" * 8),
        ("sfixed64", -1, b"\x09" + b"\xff" * 8),
        ("double", 3, b"\x09" + struct.pack("<d", 3.0)),
        ("double", -0.0, b"\x09" + struct.pack("<d", -0.0)),
        ("float", 1.5, b"\x0d" + struct.pack("<f", 1.5)),
        ("float", float("inf"), b"\x0d" + struct.pack("<f", float("inf"))),
        ("bool", True, b"\x08\x01"),
        ("bytes", b"\x00", b"\x0a\x01\x00"),
    ],
)
def test_scalars_are_written_as_their_type(kind: str, value: Any, payload: bytes) -> None:
    assert encoded(message(field("value", 1, kind), form="value"), value) == payload


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("int64", 2**63, "9223372036854775808 is beyond int64"),
        ("uint64", -1, "-1 is beyond uint64"),
        ("int32", 2**31, "2147483648 is beyond int32"),
        ("int32", -(2**31) - 1, "-2147483649 is beyond int32"),
        ("uint32", 2**32, "4294967296 is beyond uint32"),
        ("sint32", 2**31, "2147483648 is beyond sint32"),
        ("sfixed64", 2**63, "9223372036854775808 is beyond sfixed64"),
        ("fixed32", -1, "-1 is beyond fixed32"),
        ("float", 1e39, "1e+39 is beyond float"),
        ("int64", "x", "expected int64, got str"),
        ("int64", True, "expected int64, got bool"),
        ("int64", 1.5, "expected int64, got float"),
        ("string", b"x", "expected str, got bytes"),
        ("string", [], "expected str, got a list"),
        ("bytes", "x", "expected bytes, got str"),
        ("bool", 1, "expected bool, got int"),
        ("double", {}, "expected double, got an object or a map"),
    ],
)
def test_values_outside_a_type_name_the_field(kind: str, value: Any, text: str) -> None:
    with pytest.raises(EncodeError, match="Sample.value: " + text.replace("+", r"\+")):
        encoded(message(field("value", 1, kind), form="value"), value)


def test_a_list_is_expected_where_there_is_one() -> None:
    with pytest.raises(EncodeError, match=r"^Sample.a: expected a list, got int$"):
        encoded(message(field("a", 1, "int64", "repeated")), {"a": 5})
    with pytest.raises(EncodeError, match=r"^expected an object or a map, got int$"):
        encoded(PAIR, 5)


def test_the_only_argument_comes_in_a_row_or_by_name() -> None:
    write = MessageEncoder(PAIR, msgspec.msgpack.encode, in_row=True)
    assert write(({"id": 1},)) == write({"pair": {"id": 1}}) == b"\x08\x01"


def test_nothing_is_none() -> None:
    assert encoded(EMPTY.compiled(), None) == b""
    with pytest.raises(EncodeError, match="expected None, got int"):
        encoded(EMPTY.compiled(), 5)


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), b""),
        (datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC), b"\x08\x01\x10\xe8\x07"),
        (
            datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=UTC),
            b"\x08" + b"\xff" * 9 + b"\x01\x10\x80\xca\xb5\xee\x01",
        ),
    ],
)
def test_an_instant_is_a_timestamp(value: datetime, payload: bytes) -> None:
    assert encoded(TIMESTAMP.compiled(), value) == payload


def test_an_instant_without_a_zone_is_refused() -> None:
    table = message(field("at", 1, "message", message=TIMESTAMP))
    with pytest.raises(EncodeError, match="Sample.at: the datetime has no time zone"):
        encoded(table, {"at": datetime(2026, 1, 1)})  # noqa: DTZ001 (that is the point)


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (timedelta(0), b""),
        (timedelta(seconds=1, microseconds=1), b"\x08\x01\x10\xe8\x07"),
        (timedelta(days=1), b"\x08\x80\xa3\x05"),
        (-timedelta(microseconds=1), b"\x10\x98\xf8" + b"\xff" * 7 + b"\x01"),
        (-timedelta(seconds=1), b"\x08" + b"\xff" * 9 + b"\x01"),
    ],
)
def test_a_length_of_time_is_a_duration(value: timedelta, payload: bytes) -> None:
    assert encoded(DURATION.compiled(), value) == payload


def test_a_length_of_time_beyond_ten_thousand_years_is_refused() -> None:
    assert encoded(DURATION.compiled(), timedelta(days=3_652_500))
    with pytest.raises(EncodeError, match="longer than the 10,000 years"):
        encoded(DURATION.compiled(), timedelta(days=3_652_500, microseconds=1))


@pytest.mark.parametrize(
    ("value", "payload"),
    [
        (None, b"\x08\x00"),
        (True, b"\x20\x01"),
        (3, b"\x11" + struct.pack("<d", 3.0)),
        (-(2**53), b"\x11" + struct.pack("<d", -(2.0**53))),
        (2.5, b"\x11" + struct.pack("<d", 2.5)),
        ("x", b"\x1a\x01x"),
        ({}, b"\x2a\x00"),
        ({"k": None}, b"\x2a\x09\x0a\x07\x0a\x01k\x12\x02\x08\x00"),
        ([False], b"\x32\x04\x0a\x02\x20\x00"),
    ],
)
def test_any_plain_value_is_a_value(value: Any, payload: bytes) -> None:
    assert encoded(VALUE.compiled(), value) == payload


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53 + 1, r"9007199254740993 is beyond 2\*\*53"),
        (b"x", "not bytes"),
        (datetime.now(UTC), "not a datetime"),
        ({1: 2}, "expected str as the key of a map, got int"),
    ],
)
def test_other_values_are_no_value_of_any_type(value: Any, text: str) -> None:
    with pytest.raises(EncodeError, match=text):
        encoded(VALUE.compiled(), value)


def test_values_nested_without_end_are_refused() -> None:
    value: Any = None
    for _ in range(1_100):
        value = [value]
    plain = b"\x91" * 1_100 + b"\xc0"
    with pytest.raises(EncodeError, match="nested too deep"):
        MessageEncoder(VALUE.compiled(), lambda _: plain)(value)


@pytest.mark.parametrize(
    "plain", [b"", b"\x82\xa2id", b"\x81\xa2id\xcd\x01", b"\x81\xa4name\xd9\xff", b"\xdf\x00"]
)
def test_a_plain_value_that_is_cut_is_refused(plain: bytes) -> None:
    # A program can give msgspec such bytes, as a `Raw`.
    with pytest.raises(EncodeError, match="not whole"):
        MessageEncoder(PAIR, lambda _: plain)(None)


def test_an_encoder_continues_after_an_error() -> None:
    for _ in range(3):
        with pytest.raises(EncodeError):
            encoded(PAIR, {"id": "x"})
        assert encoded(PAIR, {"id": 1}) == b"\x08\x01"

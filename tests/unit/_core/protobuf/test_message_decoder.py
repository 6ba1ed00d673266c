"""Bytes of a message to plain values."""

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fastrpc._core.protobuf.message_decoder import MessageDecoder
from fastrpc.errors import CallError, DecodeError
from fastrpc.rpc.protobuf.messages import DURATION, TIMESTAMP, VALUE, ProtoMessage
from fastrpc.status import Status
from tests.support.tables import decoded, field, message

PAIR = message(field("id", 1, "int64"), field("name", 2, "string"))
LISTS = message(field("a", 1, "int32", "repeated"), field("b", 2, "string", "repeated"))


def inner(*fields: Any, form: str = "map") -> ProtoMessage:
    found = ProtoMessage("Inner", form)
    found.fields = list(fields)
    return found


def test_absent_fields_are_their_zero() -> None:
    assert decoded(PAIR, b"") == {"id": 0, "name": ""}
    assert decoded(LISTS, b"") == {"a": [], "b": []}


def test_the_last_of_several_values_counts() -> None:
    assert decoded(PAIR, b"\x08\x01\x12\x01x\x08\x02\x12\x00") == {"id": 2, "name": ""}


def test_fields_come_in_any_order_and_lists_in_parts() -> None:
    payload = b"\x12\x01x\x08\x01\x12\x01y\x0a\x02\x02\x03\x08\x04\x12\x01z"
    assert decoded(LISTS, payload) == {"a": [1, 2, 3, 4], "b": ["x", "y", "z"]}


def test_unknown_fields_of_any_type_are_skipped() -> None:
    unknown = b"\x58\x05\x59" + bytes(8) + b"\x5d" + bytes(4) + b"\x5a\x02ab\x5b\x08\x01\x5b\x5c\x5c"
    assert decoded(PAIR, unknown + b"\x08\x07" + unknown) == {"id": 7, "name": ""}


def test_a_field_of_another_wire_type_is_unknown() -> None:
    assert decoded(PAIR, b"\x0a\x01x\x10\x05\x0d" + bytes(4)) == {"id": 0, "name": ""}


def test_parts_of_a_message_are_one_message() -> None:
    table = message(field("one", 1, "message", message=inner(field("a", 1, "int64"), field("b", 2, "int64"))))
    assert decoded(table, b"\x0a\x02\x08\x01\x0a\x02\x10\x02") == {"one": {"a": 1, "b": 2}}
    assert decoded(table, b"\x0a\x02\x08\x01\x50\x00\x0a\x02\x10\x02\x50\x00\x0a\x02\x08\x03") == {
        "one": {"a": 3, "b": 2}
    }


def test_of_a_union_the_last_member_counts() -> None:
    table = message(
        field("text", 1, "string", absent=None),
        field("part", 2, "message", message=inner(field("a", 1, "int64"), field("b", 2, "int64"))),
        form="union",
    )
    part = b"\x12\x02\x08\x01"
    assert decoded(table, b"") is None
    assert decoded(table, part) == {"a": 1, "b": 0}
    assert decoded(table, part + b"\x0a\x01x") == "x"
    # Bytes before another member are forgotten.
    assert decoded(table, part + b"\x0a\x01x" + b"\x12\x02\x10\x02") == {"a": 0, "b": 2}
    assert decoded(table, part + b"\x12\x02\x10\x02") == {"a": 1, "b": 2}


def test_entries_of_a_map_may_lack_key_and_value() -> None:
    entry = ProtoMessage("Entry", "entry")
    entry.fields = [field("key", 1, "string"), field("value", 2, "int64")]
    table = message(field("m", 1, "message", "map", message=entry))
    assert decoded(table, b"\x0a\x00\x0a\x05\x0a\x01x\x10\x05\x0a\x02\x10\x07") == {"m": {"": 7, "x": 5}}


def test_arguments_are_a_row_if_they_fill_its_begin() -> None:
    fields = (field("a", 1, "int64"), field("b", 2, "int64", absent=None, is_optional=True))
    arguments = ProtoMessage("Request", "arguments")
    arguments.fields, arguments.has_row = list(fields), True
    assert decoded(arguments.compiled(), b"\x10\x02\x08\x01") == [1, 2]
    assert decoded(arguments.compiled(), b"\x08\x01") == [1]


def test_the_only_argument_is_in_a_row() -> None:
    reader = MessageDecoder(PAIR, depth=5, items=10, in_row=True)
    assert msgspec.msgpack.decode(reader(b"\x08\x01")) == [{"id": 1, "name": ""}]


@pytest.mark.parametrize(
    ("kind", "payload", "value"),
    [
        ("int64", b"\x08" + b"\xff" * 9 + b"\x01", -1),
        ("int32", b"\x08" + b"\xff" * 9 + b"\x01", -1),
        ("int32", b"\x08\x80\x80\x80\x80\x10", 0),
        ("uint32", b"\x08" + b"\xff" * 9 + b"\x01", 2**32 - 1),
        ("uint64", b"\x08" + b"\xff" * 9 + b"\x01", 2**64 - 1),
        ("sint32", b"\x08\x03", -2),
        ("sint64", b"\x08" + b"\xff" * 9 + b"\x01", -(2**63)),
        ("bool", b"\x08\x80\x01", True),
        ("fixed32", b"\x0d\xff\xff\xff\xff", 2**32 - 1),
        ("sfixed32", b"\x0d\xff\xff\xff\xff", -1),
        ("fixed64", b"\x09" + b"\xff" * 8, 2**64 - 1),
        ("sfixed64", b"\x09" + b"\xff" * 8, -1),
        ("float", b"\x0d" + struct.pack("<f", 1.5), 1.5),
        ("double", b"\x09" + struct.pack("<d", -0.0), -0.0),
        ("bytes", b"\x0a\x02\x00\xff", b"\x00\xff"),
    ],
)
def test_scalars_have_the_width_of_their_type(kind: str, payload: bytes, value: Any) -> None:
    assert decoded(message(field("value", 1, kind), form="value"), payload) == value


@pytest.mark.parametrize(
    "payload",
    [
        b"\x08",
        b"\x08" + b"\xff" * 10,
        b"\x09" + bytes(7),
        b"\x0d" + bytes(3),
        b"\x12\x05abc",
        b"\x12\xff\xff\xff\xff\xff\x01",
        b"\x00\x00",
        b"\x0c",
        b"\x5b\x08\x01",
        b"\x5b\x5c" + b"\x5b" * 200,
        b"\x5b\x64",
        b"\x0e\x01",
        b"\x0f\x01",
        b"\x0a\x01\xff",
        b"\x0a\x0b" + b"\xff" * 11,
    ],
    ids=bytes.hex,
)
def test_malformed_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="malformed protobuf"):
        decoded(LISTS, payload)


def test_numbers_that_do_not_fill_a_packed_list_are_malformed() -> None:
    with pytest.raises(DecodeError, match="malformed protobuf"):
        decoded(message(field("a", 1, "double", "repeated")), b"\x0a\x09" + bytes(9))


def test_every_cut_of_a_payload_is_a_value_or_malformed() -> None:
    payload = b"\x0a\x03\x01\x96\x01\x12\x03abc\x12\x00\x08\x05"
    for end in range(len(payload)):
        try:
            decoded(LISTS, payload[:end])
        except DecodeError as error:
            assert error.message == "malformed protobuf"  # noqa: PT017 (most cuts are values)


def test_nesting_is_bounded() -> None:
    node = ProtoMessage("Node", "map")
    node.fields = [field("next", 1, "message", message=node, absent=None)]
    payload = b""
    for _ in range(9):
        payload = b"\x0a" + bytes([len(payload)]) + payload
    assert decoded(node.compiled(), payload, depth=10)
    with pytest.raises(DecodeError, match="nested deeper than 9 levels"):
        decoded(node.compiled(), payload, depth=9)


def test_values_are_bounded_and_values_of_absent_fields_count() -> None:
    wide = inner(*(field(f"f{number}", number, "int64") for number in range(1, 51)))
    table = message(field("all", 1, "message", "repeated", message=wide))
    empty = b"\x0a\x00" * 9
    assert len(decoded(table, empty, items=1_000)["all"]) == 9
    with pytest.raises(CallError, match="more than 900 items") as caught:
        decoded(table, empty, items=900)
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


def test_an_unknown_number_of_an_enum_names_the_field() -> None:
    color = field("color", 1, "enum")
    table = message(color)
    named = message(color)
    assert decoded(table, b"\x08\x07") == decoded(named, b"\x08\x07") == {"color": 7}


@pytest.mark.parametrize("wrap", [bytearray, memoryview])
def test_payloads_are_any_bytes(wrap: Callable[[bytes], Any]) -> None:
    assert decoded(PAIR, wrap(b"\x08\x07")) == {"id": 7, "name": ""}


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"", datetime(1970, 1, 1, tzinfo=UTC)),
        (b"\x08\x01\x10\xe8\x07", datetime(1970, 1, 1, 0, 0, 1, 1, tzinfo=UTC)),
        # Less than a microsecond is cut off, not rounded to the next second.
        (b"\x10\xff\x93\xeb\xdc\x03", datetime(1970, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_an_instant(payload: bytes, value: datetime) -> None:
    assert decoded(TIMESTAMP.compiled(), payload) == value


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "PT0.000000S"),
        (b"\x08\x01\x10\xe8\x07", "PT1.000001S"),
        (b"\x08" + b"\xff" * 9 + b"\x01", "-PT1.000000S"),
        (b"\x10\x98\xf8" + b"\xff" * 7 + b"\x01", "-PT0.000001S"),
    ],
)
def test_a_duration_is_a_text_that_msgspec_reads(payload: bytes, text: str) -> None:
    assert decoded(DURATION.compiled(), payload) == text


@pytest.mark.parametrize(
    ("known", "payload"),
    [
        (TIMESTAMP, b"\x10\x80\x94\xeb\xdc\x03"),
        (TIMESTAMP, b"\x10" + b"\xff" * 9 + b"\x01"),
        (DURATION, b"\x08\x01\x10" + b"\xff" * 9 + b"\x01"),
        (DURATION, b"\x08\x80\x80\x80\x80\x80\x80\x01"),
    ],
)
def test_instants_and_durations_outside_their_range_are_refused(known: ProtoMessage, payload: bytes) -> None:
    with pytest.raises(DecodeError, match=f"a {known.name} has"):
        decoded(known.compiled(), payload)


@pytest.mark.parametrize(
    ("payload", "value"),
    [
        (b"", None),
        (b"\x08\x00", None),
        (b"\x11" + struct.pack("<d", 3.0), 3),
        (b"\x11" + struct.pack("<d", 2.5), 2.5),
        (b"\x11" + struct.pack("<d", 2.0**53), 2**53),
        (b"\x11" + struct.pack("<d", 2.0**54), 2.0**54),
        (b"\x1a\x01x", "x"),
        (b"\x20\x01", True),
        (b"\x2a\x00", {}),
        (b"\x2a\x07\x0a\x05\x0a\x01k\x12\x00", {"k": None}),
        (b"\x32\x04\x0a\x02\x20\x00", [False]),
    ],
)
def test_a_value_of_any_type_is_plain(payload: bytes, value: Any) -> None:
    found = decoded(VALUE.compiled(), payload)
    assert found == value
    assert type(found) is type(value)


def test_a_negative_zero_stays_one() -> None:
    assert str(decoded(VALUE.compiled(), b"\x11" + struct.pack("<d", -0.0))) == "-0.0"

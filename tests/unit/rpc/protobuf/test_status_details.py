"""Details of errors against protobuf's own classes of google.rpc.Status, Any and Value."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    struct_pb2,
)
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.rpc.protobuf.status_details import decode_details, encode_details
from fastrpc.types.any_message import AnyMessage


def _status_class() -> Any:
    """Make google.rpc.Status, whose package is not needed otherwise."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="rpc_status.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=["google/protobuf/any.proto"],
    )
    message = file.message_type.add(name="Status")
    message.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    message.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    message.field.add(
        name="details",
        number=3,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Any",
        label=field.LABEL_REPEATED,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("google.rpc.Status"))


Status = _status_class()
VALUE_URL = "type.googleapis.com/google.protobuf.Value"
DURATION_URL = "type.googleapis.com/google.protobuf.Duration"

plain = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False),
    lambda held: st.lists(held, max_size=4) | st.dictionaries(st.text(), held, max_size=4),
    max_leaves=20,
)


def value_bytes(value: Any) -> bytes:
    """Return a plain value as protobuf's own google.protobuf.Value has it."""
    holder = struct_pb2.ListValue()
    holder.extend([value])
    return bytes(holder.values[0].SerializeToString())


def status_bytes(*details: tuple[str, bytes]) -> bytes:
    held = [any_pb2.Any(type_url=url, value=value).SerializeToString() for url, value in details]
    return b"\x08\x05" + b"".join(b"\x1a" + _varint(len(one)) + one for one in held)


def _varint(number: int) -> bytes:
    return bytes((number,)) if number < 128 else bytes((number & 127 | 128,)) + _varint(number >> 7)


@given(plain)
def test_a_plain_value_comes_back_and_protobuf_reads_it(value: Any) -> None:
    raw = encode_details(9, "caf\u00e9", value)
    if value is None:
        assert raw is None
        return
    assert raw is not None
    assert decode_details(raw) == value
    status = Status.FromString(raw)
    assert (status.code, status.message, len(status.details)) == (9, "caf\u00e9", 1)
    held = struct_pb2.Value()
    assert status.details[0].type_url == VALUE_URL
    held.ParseFromString(status.details[0].value)
    assert held == struct_pb2.Value.FromString(value_bytes(value))


@given(plain)
def test_a_value_that_protobuf_wrote_is_read(value: Any) -> None:
    assert decode_details(status_bytes((VALUE_URL, value_bytes(value)))) == value


@dataclass
class Shortage:
    item: str
    missing: int


def test_a_dataclass_is_the_object_that_json_has_of_it() -> None:
    raw = encode_details(9, "", Shortage("pear", 3))
    assert raw is not None
    assert decode_details(raw) == {"item": "pear", "missing": 3}


def test_whole_numbers_stay_int_and_large_ones_are_text() -> None:
    raw = encode_details(9, "", [5, 1.5, 2**53, 2**53 + 1])
    assert raw is not None
    found = decode_details(raw)
    assert found == [5, 1.5, 2**53, "9007199254740993"]
    assert type(found[0]) is int


def test_messages_are_taken_as_they_are() -> None:
    duration = duration_pb2.Duration(seconds=5)
    packed = any_pb2.Any()
    packed.Pack(duration)
    one = AnyMessage(DURATION_URL, duration.SerializeToString())
    for details in (duration, [duration], (packed,), one, [one]):
        raw = encode_details(9, "x", details)
        assert raw is not None
        found = decode_details(raw)
        assert found == [one]
        assert found[0].unpack(duration_pb2.Duration) == duration
    raw = encode_details(9, "x", [duration, packed])
    assert raw is not None
    assert decode_details(raw) == [one, one]


def test_several_values_are_messages() -> None:
    value = (VALUE_URL, value_bytes("a"))
    assert decode_details(status_bytes(value, value)) == [AnyMessage(*value), AnyMessage(*value)]


def test_details_that_no_message_holds_are_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with caplog.at_level(logging.WARNING, "fastrpc.server"):
        assert encode_details(9, "x", object()) is None
        assert encode_details(9, "x", loop) is None
    assert len(caplog.records) == 2


def test_a_status_without_details_yields_none() -> None:
    assert decode_details(b"") is None
    assert decode_details(Status(code=5, message="gone").SerializeToString()) is None


@pytest.mark.parametrize(
    "raw",
    [
        b"\x1a",
        b"\x1a\x05ab",
        b"\x1b",
        b"\x1a" + b"\xff" * 11,
        b"\x1a\x02\x08\x01",
        b"\x1a\x03\x0a\x01\xff",
        status_bytes((VALUE_URL, b"\x1a\x01\xff")),
        status_bytes((VALUE_URL, b"\x10\x01")),
        status_bytes((VALUE_URL, b"\x11\x00")),
        status_bytes((VALUE_URL, b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")),
    ],
)
def test_broken_bytes_are_left_out(raw: bytes) -> None:
    found = decode_details(raw)
    assert found is None or found == [AnyMessage("", b"")]


def test_a_value_nested_too_deep_is_left_out() -> None:
    value = b""
    for _ in range(101):
        value = (
            b"\x32"
            + _varint(len(value) + 1 + len(_varint(len(value))))
            + b"\x0a"
            + _varint(len(value))
            + value
        )
    assert decode_details(status_bytes((VALUE_URL, value))) is None
    assert decode_details(status_bytes((VALUE_URL, b"\x32\x02\x0a\x00"))) == [None]


@given(st.binary(max_size=60), st.integers(0, 60))
def test_no_bytes_raise(noise: bytes, place: int) -> None:
    whole = encode_details(9, "x", {"a": [1, "b", None, True], "c": {}})
    assert whole is not None
    decode_details(noise)
    decode_details(status_bytes((VALUE_URL, noise)))
    decode_details(whole[:place] + noise + whole[place:])

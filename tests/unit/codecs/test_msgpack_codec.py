"""What only msgpack does: plain values by the reference package."""

import datetime
from typing import Any

import msgspec
import pytest

from fastrpc.codecs.msgpack import MsgpackCodec
from fastrpc.errors import DecodeError, EncodeError

codec = MsgpackCodec()


@pytest.mark.parametrize("type", [Any, object])
def test_integer_keys_stay_integers(type: Any) -> None:
    assert codec.decode(codec.encode({0: "a", "b": 1}), type) == {0: "a", "b": 1}


@pytest.mark.parametrize("key", [(), (1, "a"), ((1, (2,)), b"b")])
@pytest.mark.parametrize("type", [Any, object, dict[Any, int], list[Any] | dict[Any, Any]])
def test_arrays_as_keys_are_tuples(type: Any, key: Any) -> None:
    assert codec.decode(codec.encode({key: 1}), type) == {key: 1}


def test_bytes_and_text_stay_different_types() -> None:
    assert codec.decode(codec.encode([b"a", "a"])) == [b"a", "a"]


def test_instant_comes_back_as_aware_datetime() -> None:
    instant = datetime.datetime(1969, 7, 20, 20, 17, 40, 123456, datetime.UTC)
    assert codec.decode(codec.encode(instant)) == instant


def test_extension_value_can_be_sent_on() -> None:
    payload = codec.encode(msgspec.msgpack.Ext(5, b"abc"))
    assert codec.encode(codec.decode(payload)) == payload


@pytest.mark.parametrize(
    "payload",
    [
        b"\x81\x80\x01",  # a map as a key
        b"\x81\x91\x80\x01",  # a map in a key
        b"\x81\xd4\x05\x01\x01",  # an extension as a key
        b"\x91" * 5_000 + b"\xc0",
        b"\xd4\xff\x01",  # a timestamp of one byte
        b"\xc7\x0c\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00",  # too many nanoseconds
        b"\xc7\x0c\xff\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",  # a year beyond the calendar
        b"\xdd\xff\xff\xff\xff",  # four thousand million elements announced
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x05",
        b"\xc1",
    ],
)
def test_hostile_plain_payload_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode(payload)


def test_integer_beyond_64_bits_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match=r"2\*\*64"):
        codec.encode(2**64)

"""Any value survives its codec; any bytes give a value or a DecodeError, nothing else."""

import contextlib
import datetime
import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from fastrpc.codecs.base import codec_named
from fastrpc.codecs.json import JsonCodec
from fastrpc.codecs.msgpack import MsgpackCodec
from fastrpc.errors import DecodeError, EncodeError

msgpack_codec = MsgpackCodec()
json_codec = JsonCodec()

instants = st.datetimes(timezones=st.just(datetime.UTC))
finite = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | finite | st.text()
values = st.recursive(
    plain | st.binary() | instants,
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(-(2**63), 2**63), inner),
    max_leaves=40,
)
json_values = st.recursive(
    plain, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40
)


class Record(msgspec.Struct):
    identity: int
    name: str
    scores: list[float]
    tags: dict[str, bytes | None]
    seen: datetime.datetime


records = st.builds(
    Record,
    identity=st.integers(-(2**63), 2**63 - 1),
    name=st.text(),
    scores=st.lists(finite),
    tags=st.dictionaries(st.text(), st.binary() | st.none()),
    seen=instants,
)


@given(values)
def test_plain_msgpack_survives(value: Any) -> None:
    assert msgpack_codec.decode(msgpack_codec.encode(value)) == value


@given(json_values)
def test_plain_json_survives(value: Any) -> None:
    assert json_codec.decode(json_codec.encode(value)) == value


@given(records, st.sampled_from(["msgpack", "json"]))
def test_typed_value_survives(record: Record, name: str) -> None:
    codec = codec_named(name)
    assert codec.decode(codec.encode(record), Record) == record


@given(values)
def test_both_msgpack_decoders_agree(value: Any) -> None:
    # A signature may hold Any next to types: then msgspec decodes it, otherwise the reference package does.
    payload = msgpack_codec.encode([value])
    assert msgpack_codec.decode(payload) == msgpack_codec.decode(payload, list[Any])


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["msgpack", "json"]))
def test_any_bytes_give_a_value_or_a_decode_error(payload: bytes, name: str) -> None:
    codec = codec_named(name)
    for type in (Any, Record, list[int], dict[str, Any]):
        with contextlib.suppress(DecodeError):
            codec.decode(payload, type)


@given(st.integers() | st.floats() | st.complex_numbers() | st.text(), st.sampled_from(["msgpack", "json"]))
def test_any_value_gives_bytes_or_an_encode_error(value: Any, name: str) -> None:
    codec = codec_named(name)
    try:
        payload = codec.encode(value)
    except EncodeError:
        return
    decoded = codec.decode(payload)
    assert decoded == value or decoded is None or math.isnan(value)

"""What msgpack and JSON have in common: typed values, checked on arrival."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any, Generic, TypedDict, TypeVar

import msgspec
import pytest

from fastrpc.codecs.base import Codec, codec_named
from fastrpc.errors import ConfigError, DecodeError, EncodeError

Item = TypeVar("Item")

# Beyond every limit of recursion that an interpreter has.
DEPTH = 200_000


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Movie(TypedDict):
    title: str
    year: int


class Node(msgspec.Struct):
    value: int
    next: "Node | None" = None


class Page(msgspec.Struct, Generic[Item]):
    items: list[Item]


VALUES: list[tuple[Any, Any]] = [
    (int, 2**64 - 1),
    (int, -(2**63)),
    (float, 1.5),
    (str, "naïve ☃"),
    (bytes, b"\x00\xff"),
    (bool, True),
    (None, None),
    (list[int], [1, 2]),
    (dict[str, float], {"a": 0.5}),
    (dict[int, str], {1: "a"}),
    (set[int], {1, 2}),
    (tuple[int, str], (1, "a")),
    (int | str | None, "a"),
    (Colour, Colour.RED),
    (Point, Point(1, 2)),
    (Movie, Movie(title="Metropolis", year=1927)),
    (Node, Node(1, Node(2))),
    (Page[int], Page([1])),
    (uuid.UUID, uuid.UUID(int=7)),
    (decimal.Decimal, decimal.Decimal("1.10")),
    (datetime.datetime, datetime.datetime(2024, 2, 29, 12, 30, 1, 5, datetime.UTC)),
    (datetime.date, datetime.date(2024, 2, 29)),
    (Any, {"a": [1, None, "b"]}),
]


@pytest.fixture(params=["msgpack", "json"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return codec_named(request.param)


def test_values_survive_the_round_trip(codec: Codec) -> None:
    for kind, value in VALUES:
        assert codec.decode(codec.encode(value), kind) == value


def test_prepared_pair_does_the_same(codec: Codec) -> None:
    for kind, value in VALUES:
        assert codec.decoder(kind)(codec.encoder()(value)) == value


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_payload_may_be_any_buffer(codec: Codec, buffer: Any) -> None:
    assert codec.decode(buffer(codec.encode([1, "a"]))) == [1, "a"]
    assert codec.decode(buffer(codec.encode([1, 2])), list[int]) == [1, 2]


def test_misfit_names_field_and_expectation(codec: Codec) -> None:
    payload = codec.encode({"x": "seven"})
    with pytest.raises(DecodeError, match=r"Expected `int`, got `str` - at `\$\.x`"):
        codec.decode(payload, Point)


def test_missing_field_is_named(codec: Codec) -> None:
    with pytest.raises(DecodeError, match="missing required field `year`"):
        codec.decode(codec.encode({"title": "Metropolis"}), Movie)


@pytest.mark.parametrize("type", [Any, int])
@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x92\x01", b"[1,", b"nul"])
def test_malformed_payload_is_a_decode_error(codec: Codec, type: Any, payload: bytes) -> None:
    with pytest.raises(DecodeError, match=f"payload does not fit as {codec.name}: ."):
        codec.decode(payload, type)


@pytest.mark.parametrize("type", [Any, int])
def test_bytes_after_the_value_are_refused(codec: Codec, type: Any) -> None:
    with pytest.raises(DecodeError):
        codec.decode(codec.encode(1) + codec.encode(1) + b"]", type)


@pytest.mark.parametrize("type", [Any, str])
def test_text_that_is_not_utf_8_is_refused(codec: Codec, type: Any) -> None:
    with pytest.raises(DecodeError, match="(?i)utf-8"):
        codec.decode(codec.encode("é").replace("é".encode(), b"\xc3\xc3"), type)


def test_value_without_a_form_is_an_encode_error(codec: Codec) -> None:
    with pytest.raises(EncodeError, match=f"type object cannot be encoded as {codec.name}"):
        codec.encode(object())


def test_value_that_contains_itself_is_an_encode_error(codec: Codec) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError, match="nested too deep, or contains itself"):
        codec.encode(endless)


def test_type_that_cannot_travel_is_a_config_error(codec: Codec) -> None:
    with pytest.raises(ConfigError, match=f"cannot travel as {codec.name}: .*more than one array-like"):
        codec.decoder(list[int] | set[int])


def test_plain_value_nested_too_deep_is_a_decode_error(codec: Codec) -> None:
    payload = b"\x91" * DEPTH + b"\x01" if codec.name == "msgpack" else b"[" * DEPTH + b"1" + b"]" * DEPTH
    with pytest.raises(DecodeError):
        codec.decode(payload)


def test_typed_value_nested_too_deep_is_a_decode_error(codec: Codec) -> None:
    payload = b"\x82\xa5value\x01\xa4next" * DEPTH + b"\xc0"
    if codec.name == "json":
        payload = b'{"value":1,"next":' * DEPTH + b"null" + b"}" * DEPTH
    with pytest.raises(DecodeError, match="nested too deep"):
        codec.decode(payload, Node)

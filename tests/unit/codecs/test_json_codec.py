"""Special cases of JSON: text for bytes, null for numbers that JSON lacks."""

import math

import pytest

from fastrpc.codecs.json import JsonCodec
from fastrpc.errors import DecodeError, EncodeError

codec = JsonCodec()


def test_payload_is_compact_text() -> None:
    assert codec.encode({"a": [1, "b", None]}) == b'{"a":[1,"b",null]}'


def test_bytes_travel_as_base64() -> None:
    assert codec.encode(b"\x00\xff") == b'"AP8="'


def test_number_that_json_lacks_becomes_null() -> None:
    assert codec.encode([math.nan, math.inf]) == b"[null,null]"


@pytest.mark.parametrize("payload", [b"NaN", b"'a'", b"[1,]", b"// a\n1", b"\xef\xbb\xbf1", b"1e400"])
def test_texts_that_json_does_not_allow_are_refused(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        codec.decode(payload)


def test_endless_number_is_refused_before_it_is_computed() -> None:
    with pytest.raises(DecodeError, match="out of range"):
        codec.decode(b"1" * 1_000_000)


@pytest.mark.parametrize("key", [True, None, (1, 2), frozenset({1})], ids=repr)
def test_a_key_that_json_lacks_is_refused_with_the_codec_that_has_it(key: object) -> None:
    with pytest.raises(EncodeError, match=r"is not a type for a key of a map in json; msgpack has such keys"):
        codec.encode({key: 1})

"""Protobuf, with a real message whose class is made at run time from its descriptor."""

from typing import Any

import pytest

from fastrpc.codecs.protobuf import ProtobufCodec
from fastrpc.errors import ConfigError, DecodeError, EncodeError
from tests.support.people import nested_people, person_class

codec = ProtobufCodec()


@pytest.fixture
def person() -> Any:
    return person_class()


class HandMade:
    """Not of Google's library: known by its methods only."""

    def __init__(self, text: str) -> None:
        self.text = text

    def SerializeToString(self) -> bytes:
        return self.text.encode()

    @classmethod
    def FromString(cls, payload: bytes) -> "HandMade":
        return cls(bytes(payload).decode())


def test_message_survives_the_round_trip(person: Any) -> None:
    ann = person(name="Ann", scores=[1, -2, 3], friend=person(name="Bo"))
    assert codec.decode(codec.encode(ann), person) == ann
    assert codec.decoder(person)(codec.encoder()(ann)) == ann


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_payload_may_be_any_buffer(person: Any, buffer: Any) -> None:
    assert codec.decode(buffer(codec.encode(person(name="Ann"))), person).name == "Ann"


def test_payload_equals_the_output_of_protobuf(person: Any) -> None:
    assert codec.encode(person(name="Ann")) == b"\x0a\x03Ann"


def test_any_class_with_the_two_methods_will_do() -> None:
    assert codec.decode(codec.encode(HandMade("abc")), HandMade).text == "abc"


def test_none_is_sent_as_no_bytes() -> None:
    assert codec.encode(None) == b""
    assert codec.decode(b"", None) is None
    with pytest.raises(DecodeError, match="expected no bytes"):
        codec.decode(b"\x0a\x00", None)


@pytest.mark.parametrize("payload", [b"\xff", b"\x0a\x05Ann", b"\x0a\x02\xc3\xc3"])
def test_malformed_payload_is_a_decode_error(person: Any, payload: bytes) -> None:
    with pytest.raises(DecodeError, match="payload does not fit as protobuf"):
        codec.decode(payload, person)


def test_nesting_a_million_deep_is_a_decode_error(person: Any) -> None:
    assert codec.decode(nested_people(3), person).friend.friend.HasField("friend")
    with pytest.raises(DecodeError, match="payload does not fit as protobuf"):
        codec.decode(nested_people(1_000_000), person)


@pytest.mark.parametrize("value", [5, "abc", {"name": "Ann"}])
def test_anything_but_a_message_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match=f"type {type(value).__name__} cannot be encoded as protobuf"):
        codec.encode(value)


def test_message_that_fails_to_serialize_is_an_encode_error() -> None:
    with pytest.raises(EncodeError, match="surrogates not allowed"):
        codec.encode(HandMade("\ud800"))


@pytest.mark.parametrize("type", [Any, int, dict])
def test_type_without_the_methods_is_a_config_error(type: Any) -> None:
    with pytest.raises(ConfigError, match="expected a protobuf message class"):
        codec.decoder(type)

"""Coders around the coders of msgspec."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from fastrpc._core.base.buffer import kept_blocks, release_blocks
from fastrpc._core.payload.msgspec_coders import BytesDecoder, BytesEncoder, DefaultFiller, FillingDecoder

#: The sizes around which msgpack writes a length in one, two and four bytes, and where the pool begins.
SIZES = [0, 1, 255, 256, 32_767, 32_768, 65_535, 65_536, 300_000]

#: Payloads that are not exactly one `bytes` value.
OTHERS = [
    b"",
    b"\xc4",
    b"\xc4\x02a",
    b"\xc4\x01ab",
    b"\xc5\x00",
    b"\xc6\x00\x00\x00",
    b"\xc6\xff\xff\xff\xff",
    b"\xc0",
    b"\x93",
]


@pytest.fixture
def decoder() -> BytesDecoder:
    return BytesDecoder(msgspec.msgpack.Decoder(bytes).decode)


@pytest.mark.parametrize("size", SIZES)
def test_a_value_of_any_size_is_decoded(decoder: BytesDecoder, size: int) -> None:
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert decoder(msgspec.msgpack.encode(value)) == value


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_length_may_be_written_wider_than_it_needs(decoder: BytesDecoder, width: int) -> None:
    marker = {1: b"\xc4", 2: b"\xc5", 4: b"\xc6"}[width]
    assert decoder(marker + (3).to_bytes(width, "big") + b"abc") == b"abc"


@pytest.mark.parametrize("payload", OTHERS)
def test_other_payloads_raise_the_error_of_msgspec(decoder: BytesDecoder, payload: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError) as expected:
        msgspec.msgpack.decode(payload, type=bytes)
    with pytest.raises(type(expected.value), match=r".*") as raised:
        decoder(payload)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_payload_need_not_be_bytes(decoder: BytesDecoder, kind: type) -> None:
    assert decoder(kind(msgspec.msgpack.encode(b"abc"))) == b"abc"


def test_a_large_value_uses_the_memory_of_a_freed_value(decoder: BytesDecoder) -> None:
    release_blocks()
    payload = msgspec.msgpack.encode(bytes(100_000))
    place = id(decoder(payload))
    assert kept_blocks() == (1, 100_000)
    assert id(decoder(payload)) == place


def test_a_value_that_is_kept_is_never_written_to(decoder: BytesDecoder) -> None:
    release_blocks()
    kept = [decoder(msgspec.msgpack.encode(bytes([number]) * 100_000)) for number in range(5)]
    assert kept == [bytes([number]) * 100_000 for number in range(5)]


@pytest.mark.parametrize("size", SIZES)
def test_the_payload_of_a_value_matches_msgspec(size: int) -> None:
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert BytesEncoder(msgspec.msgpack.encode)(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("value", [None, 7, "text" * 20_000, bytearray(70_000), [bytes(70_000)], {"a": b""}])
def test_other_values_are_encoded_as_ever(value: object) -> None:
    assert BytesEncoder(msgspec.msgpack.encode)(value) == msgspec.msgpack.encode(value)


def test_the_payload_of_a_large_value_uses_the_memory_of_a_freed_payload() -> None:
    release_blocks()
    encoder = BytesEncoder(msgspec.msgpack.encode)
    place = id(encoder(bytes(100_000)))
    assert id(encoder(bytes(100_000))) == place


@dataclass
class Money:
    amount: int
    currency: str = "EUR"


def money_filler() -> DefaultFiller:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": ("EUR", None, False)})
    return filler


def lacking() -> Money:
    """Return an object as decoders make it."""
    money = Money.__new__(Money)
    money.amount = 1
    return money


def test_a_missing_default_is_put_into_the_object() -> None:
    money = lacking()
    assert money_filler()(money) is money
    assert vars(money) == {"amount": 1, "currency": "EUR"}


def test_present_fields_keep_their_values() -> None:
    money = Money(1, "USD")
    assert vars(money_filler()(money)) == {"amount": 1, "currency": "USD"}


@pytest.mark.parametrize("value", [None, 1, "text", [lacking()], {"amount": 1}])
def test_values_of_other_classes_are_left_alone(value: Any) -> None:
    before = repr(value)
    assert money_filler()(value) is value
    assert repr(value) == before


def test_a_factory_makes_a_new_default_each_time() -> None:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": (None, list, False)})
    first, second = filler(lacking()), filler(lacking())
    assert first.currency == second.currency == []
    assert first.currency is not second.currency


def test_a_required_field_that_is_missing_is_an_error() -> None:
    filler = DefaultFiller()
    filler.define("object", cls=Money, defaults={"currency": (None, None, True)})
    with pytest.raises(ValueError, match="missing required field `currency`"):
        filler(lacking())


@pytest.mark.parametrize(
    ("definition", "value", "found"),
    [
        ({"kind": "collection", "each": True}, [lacking()], lambda value: value[0]),
        ({"kind": "collection", "each": True}, (lacking(),), lambda value: value[0]),
        ({"kind": "map", "each": True}, {"a": lacking()}, lambda value: value["a"]),
        ({"kind": "typed dict", "parts": "a"}, {"a": lacking(), "b": 1}, lambda value: value["a"]),
        ({"kind": "places", "parts": 1}, (0, lacking()), lambda value: value[1]),
        ({"kind": "union", "by_class": Money}, lacking(), lambda value: value),
    ],
)
def test_containers_of_objects_are_walked(definition: Any, value: Any, found: Any) -> None:
    given = dict(definition)
    filler = DefaultFiller()
    for name in ("each", "parts", "by_class"):
        if name in given:
            given[name] = money_filler() if name == "each" else {given[name]: money_filler()}
    filler.define(given.pop("kind"), **given)
    assert vars(found(filler(value))) == {"amount": 1, "currency": "EUR"}


def test_a_decoder_fills_in_missing_defaults() -> None:
    decode = FillingDecoder(lambda payload: lacking() if payload == b"x" else None, money_filler())
    assert vars(decode(b"x")) == {"amount": 1, "currency": "EUR"}
    assert decode(b"") is None

"""The coders of payloads that are one `bytes` value: equal to msgspec's, with pooled memory for large values."""

import msgspec
import pytest

from fastrpc._core.base.block_pool import kept_blocks, release_blocks
from fastrpc._core.payload.bytes_coders import BytesDecoder, BytesEncoder

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
def test_other_payloads_raise_what_msgspec_raises(decoder: BytesDecoder, payload: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError) as expected:
        msgspec.msgpack.decode(payload, type=bytes)
    with pytest.raises(type(expected.value), match=r".*") as raised:
        decoder(payload)
    assert str(raised.value) == str(expected.value)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_a_payload_need_not_be_bytes(decoder: BytesDecoder, kind: type) -> None:
    assert decoder(kind(msgspec.msgpack.encode(b"abc"))) == b"abc"


def test_a_large_value_uses_the_memory_of_one_that_is_gone(decoder: BytesDecoder) -> None:
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
def test_the_payload_of_a_value_is_that_of_msgspec(size: int) -> None:
    value = bytes(range(256)) * (size // 256) + bytes(size % 256)
    assert BytesEncoder(msgspec.msgpack.encode)(value) == msgspec.msgpack.encode(value)


@pytest.mark.parametrize("value", [None, 7, "text" * 20_000, bytearray(70_000), [bytes(70_000)], {"a": b""}])
def test_other_values_are_encoded_as_ever(value: object) -> None:
    assert BytesEncoder(msgspec.msgpack.encode)(value) == msgspec.msgpack.encode(value)


def test_the_payload_of_a_large_value_uses_the_memory_of_one_that_is_gone() -> None:
    release_blocks()
    encoder = BytesEncoder(msgspec.msgpack.encode)
    place = id(encoder(bytes(100_000)))
    assert id(encoder(bytes(100_000))) == place

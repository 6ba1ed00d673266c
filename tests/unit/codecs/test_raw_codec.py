"""Raw: bytes that nobody looks into."""

from typing import Any

import pytest

from fastrpc.codecs.raw import RawCodec
from fastrpc.errors import ConfigError, EncodeError

codec = RawCodec()


def test_bytes_are_not_copied() -> None:
    value = bytes(100)
    assert codec.encode(value) is value
    assert codec.decode(value) is value
    assert codec.encoder()(value) is value
    assert codec.decoder(bytes)(value) is value


@pytest.mark.parametrize("buffer", [bytearray, memoryview])
def test_buffers_are_copied_into_bytes(buffer: Any) -> None:
    source = bytearray(b"abc")
    encoded = codec.encode(buffer(source))
    decoded = codec.decode(buffer(source))
    source[0] = 0
    assert encoded == decoded == b"abc"
    assert type(encoded) is type(decoded) is bytes


@pytest.mark.parametrize("value", ["abc", 5, None, [1]])
def test_anything_but_bytes_is_an_encode_error(value: Any) -> None:
    with pytest.raises(EncodeError, match=f"type {type(value).__name__} cannot be encoded as raw"):
        codec.encode(value)


@pytest.mark.parametrize("type", [str, int, bytes | None, list[bytes]])
def test_other_annotations_are_refused(type: Any) -> None:
    with pytest.raises(ConfigError, match="only `bytes` travels untouched"):
        codec.decoder(type)

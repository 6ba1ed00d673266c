"""Encode and decode values of items: bytes unchanged, all other values as JSON that is decoded strictly."""

from typing import Any

from fastrpc.errors import ConfigError
from fastrpc.rpc.json_values import decode_json, encode_json, json_decoder
from fastrpc.stores.base import Item, StoreLimits

__all__ = ["decode_item", "decode_value", "encode_value_of"]


def encode_value_of(key: str, value: Any, limits: StoreLimits) -> bytes:
    """Return the bytes of a value.

    Raises:
        EncodeError: the value cannot be encoded as JSON.
        ConfigError: the value is longer than the store allows.
    """
    is_bytes = isinstance(value, bytes | bytearray | memoryview)
    encoded = bytes(value) if is_bytes else encode_json(value, f"the value of {key!r}")
    if len(encoded) > limits.most_value:
        raise ConfigError(f"the value of {key!r} has {len(encoded)} bytes, the limit is {limits.most_value}")
    return encoded


def decode_value(key: str, value: bytes, kind: Any) -> Any:
    """Return a value as a type; bytes stay bytes.

    Raises:
        DecodeError: the value cannot be decoded to the type.
        ConfigError: values of this type cannot be decoded.
    """
    if kind is bytes:
        return value
    name = f"the value of {key!r}"
    return decode_json(json_decoder(kind, name), value, kind, name)


def decode_item(item: Item[bytes], kind: Any) -> Item[Any]:
    """Return an item whose value is decoded."""
    if kind is bytes:
        return item
    value = decode_value(item.key, item.value, kind)
    return Item(item.key, value, item.revision, item.lease, item.created)

"""Payloads of arguments whose keys collide, as a caller of another language would write them."""

from collections.abc import Iterable
from typing import Any

import msgpack
import msgspec

__all__ = ["json_map", "packed_map"]


def packed_map(keys: Iterable[Any]) -> bytes:
    """Return a map of msgpack of these keys, equal ones included, to zeros."""
    encoded = [msgspec.msgpack.encode(key) for key in keys]
    return bytes(msgpack.Packer().pack_map_header(len(encoded))) + b"".join(key + b"\0" for key in encoded)


def json_map(keys: Iterable[Any]) -> bytes:
    """Return an object of JSON of these keys to zeros."""
    return b"{" + b",".join(b'"%s" : 0' % str(key).encode() for key in keys) + b"}"

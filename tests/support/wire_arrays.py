"""The body of an array, msgpack extension 1, PROTOCOL.md section 4 "Values"."""

import re
from math import prod
from struct import Struct
from typing import NamedTuple

__all__ = ["WireArray", "packed_array", "read_array", "write_array"]

MOST_DIMENSIONS = 32
MOST_BYTES = 2**63 - 1
MOST_ZEROS = 15
ALIGNMENT = 16
DIMENSION = Struct("<Q")
SIMPLE = re.compile(r"\|([biu])(1)|<([iu])([248])|<(f)([248])|<(c)(8|16)")
TEXTS = re.compile(r"\|(S)([1-9]\d*)|<(U)([1-9]\d*)")
TIMES = re.compile(r"<[Mm]8(\[\d*(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?")


class WireArray(NamedTuple):
    dtype: str
    shape: tuple[int, ...]
    values: bytes


def read_array(body: bytes) -> WireArray | None:
    """Return the array in a body; None if the body has none."""
    if not body or len(body) < 2 + body[0]:
        return None
    dtype = body[1 : 1 + body[0]].decode("latin-1")
    ndim, at = body[1 + body[0]], 2 + body[0]
    if ndim > MOST_DIMENSIONS or len(body) < at + 8 * ndim:
        return None
    shape = tuple(DIMENSION.unpack_from(body, at + 8 * axis)[0] for axis in range(ndim))
    at += 8 * ndim
    item = value_size(dtype)
    if item is None or item * prod(size for size in shape if size) > MOST_BYTES:
        return None
    size = item * prod(shape)
    if not 0 <= len(body) - at - size <= MOST_ZEROS:
        return None
    values = body[len(body) - size :]
    return WireArray(dtype, shape, values) if values_fit(dtype, values) else None


def write_array(array: WireArray, zeros: int = 0) -> bytes:
    """Return the body of an array."""
    text = array.dtype.encode()
    sizes = b"".join(map(DIMENSION.pack, array.shape))
    return bytes([len(text)]) + text + bytes([len(array.shape)]) + sizes + bytes(zeros) + array.values


def packed_array(array: WireArray, before: int) -> bytes:
    """Return the extension of an array of up to 200 bytes that comes after the given number of bytes of the payload."""
    zeros = -(before + 3 + len(write_array(array)) - len(array.values)) % ALIGNMENT
    body = write_array(array, zeros)
    assert len(body) < 256
    return bytes([0xC7, len(body), 1]) + body


def value_size(dtype: str) -> int | None:
    """Return the bytes of one value; None if there is no such dtype."""
    if TIMES.fullmatch(dtype):
        return 8
    match = SIMPLE.fullmatch(dtype) or TEXTS.fullmatch(dtype)
    if match is None:
        return None
    kind, size = [group for group in match.groups() if group]
    return int(size) * 4 if kind == "U" else int(size)


def values_fit(dtype: str, values: bytes) -> bool:
    if dtype == "|b1":
        return set(values) <= {0, 1}
    if dtype.startswith("<U"):
        return all(
            int.from_bytes(values[at : at + 4], "little") <= 0x10FFFF for at in range(0, len(values), 4)
        )
    return True

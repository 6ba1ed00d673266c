"""numpy arrays are sent as msgpack extension type 1 (PROTOCOL.md 4), and received without a copy.

::

    u8 n | dtype, n bytes | u8 ndim | ndim x u64 dimension | 0 to 15 zeros | values in C order, little-endian

A received array is a read-only view of its message, and keeps it alive. numpy needs aligned values, so
`aligned_encoder` places them at multiples of 16 bytes in the payload, whose memory is aligned at the receiver. Values
at other offsets are copied.
"""

import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin

import msgspec
import numpy

from fastrpc.types.base import ARRAY_EXTENSION, Inner, PayloadType, encode_value

__all__ = ["aligned_encoder", "array_in", "payload_type"]

MOST_DIMENSIONS: Final = 32
ALIGNMENT: Final = 16
#: Longest body of an extension of msgpack.
LONGEST_BODY: Final = 2**32 - 1
#: Most bytes, counted without empty dimensions, that numpy can index.
MOST_BYTES: Final = 2**63 - 1
LAST_CHARACTER: Final = 0x10FFFF

#: The element types that an array may have, for the error about another type.
_TRAVELLING: Final = (
    ": the values must be numbers of up to 64 bits (complex ones 128), booleans, text, bytes or times"
)

#: Types of values that have the same meaning on all machines: not `long double`, objects or structures.
_DTYPE: Final = re.compile(
    r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<c(8|16)|\|S[1-9][0-9]{0,8}|<U[1-9][0-9]{0,7}"
    r"|<[mM]8(\[[0-9]{0,9}(Y|M|W|D|h|m|s|ms|us|ns|ps|fs|as)\])?"
)

#: `long` and `long long` may be two classes with the same values. Maps each to the class that is received.
_INTEGERS: Final = {numpy.dtype(code).type: numpy.dtype(numpy.dtype(code).str).type for code in "bhilqBHILQ"}

#: A placeholder for arrays while the other values are encoded. It is random, so no other value contains it.
_MARK: Final = os.urandom(16)

_Array = numpy.ndarray[Any, Any]


def payload_type(cls: type[Any]) -> PayloadType | None:
    """Return the payload type of an array or a scalar of numpy; None for other classes."""
    if cls in {numpy.ndarray, numpy.memmap}:
        return _ARRAY
    if issubclass(cls, numpy.ndarray):
        return _SUBCLASS
    return _SCALAR if issubclass(cls, numpy.generic) else None


def array_in(data: memoryview) -> _Array:
    """Return the array in an extension's body: a read-only view, or a copy if the values are not aligned.

    Raises:
        ValueError: the bytes are not an array.
    """
    text, shape, start = _read_head(data)
    dtype = _dtype(text)
    wanted = math.prod(shape) * dtype.itemsize
    if math.prod(filter(None, shape)) * dtype.itemsize > MOST_BYTES:
        raise ValueError(f"an array of {shape} is too large")
    if not 0 <= len(data) - start - wanted < ALIGNMENT:
        raise ValueError(f"an array of {shape} {text} has {wanted} bytes, got {len(data) - start}")
    array: _Array = numpy.ndarray(shape, dtype, buffer=data, offset=len(data) - wanted)
    if not array.flags.aligned:
        array = array.copy()
        array.flags.writeable = False
    _check_values(array)
    return array


def aligned_encoder() -> Callable[[Any], bytes]:
    """Return a msgpack encoder that aligns the values of arrays and copies them only once."""

    def encode(value: Any) -> bytes:
        arrays: list[_Array] = []
        skeleton = msgspec.msgpack.Encoder(enc_hook=partial(_marked, arrays)).encode(value)
        if not arrays:
            return skeleton
        parts = skeleton.split(_MARK)
        if len(parts) != len(arrays) + 1:
            raise ValueError("the payload has the bytes that stand for an array")
        return b"".join(_pieces(parts, arrays))

    return encode


def _marked(arrays: list[_Array], value: Any) -> Any:
    """Append an array to `arrays` and return its placeholder; encode any other value."""
    if type(value) is numpy.ndarray or type(value) is numpy.memmap:
        arrays.append(_portable(value))
        return msgspec.Raw(_MARK)
    return encode_value("msgpack", value)


def _pieces(parts: list[bytes], arrays: list[_Array]) -> Iterator[Any]:
    """Yield the payload's pieces: the parts, and between each two parts an array."""
    at = 0
    for before, array in zip(parts, arrays, strict=False):
        yield before
        at += len(before)
        head = _head(array)
        most = len(head) + ALIGNMENT - 1 + array.nbytes
        form, code = (">BBb", 0xC7) if most < 1 << 8 else (">BHb", 0xC8) if most < 1 << 16 else (">BIb", 0xC9)
        zeros = -(at + struct.calcsize(form) + len(head)) % ALIGNMENT
        size = len(head) + zeros + array.nbytes
        yield struct.pack(form, code, size, ARRAY_EXTENSION)
        yield head
        yield bytes(zeros)
        yield _values(array)
        at += struct.calcsize(form) + size
    yield parts[-1]


def _encode(array: _Array, codec: str) -> msgspec.msgpack.Ext:
    if codec != "msgpack":
        raise TypeError(f"{codec} carries no numpy array; call with codec msgpack, or send array.tolist()")
    portable = _portable(array)
    head = _head(portable)
    return msgspec.msgpack.Ext(
        ARRAY_EXTENSION, b"".join((head, bytes(-len(head) % ALIGNMENT), _values(portable)))
    )


def _portable(array: _Array) -> _Array:
    """Return the array with little-endian values in C order; without a copy if it has this form."""
    if _DTYPE.fullmatch(array.dtype.newbyteorder("<").str) is None:
        raise TypeError(f"numpy arrays of dtype {array.dtype} do not travel{_TRAVELLING}")
    if array.ndim > MOST_DIMENSIONS:
        raise ValueError(f"the array has {array.ndim} dimensions, {MOST_DIMENSIONS} is the limit")
    if array.nbytes > LONGEST_BODY - 1024:
        raise ValueError(f"the array has {array.nbytes} bytes, msgpack carries {LONGEST_BODY}")
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def _head(array: _Array) -> bytes:
    text = array.dtype.newbyteorder("<").str.encode()
    return struct.pack(f"<B{len(text)}sB{array.ndim}Q", len(text), text, array.ndim, *array.shape)


def _values(array: _Array) -> Any:
    """Return the bytes of a contiguous array as a buffer, even for element types that have no buffer."""
    return array.reshape(-1).view(numpy.uint8)


def _read_head(data: memoryview) -> tuple[str, tuple[int, ...], int]:
    """Return dtype, shape and the end of the head."""
    end = 1 + data[0] if len(data) else 1
    if len(data) <= end:
        raise ValueError("an array is cut off in its head")
    dimensions = data[end]
    start = end + 1 + 8 * dimensions
    if dimensions > MOST_DIMENSIONS:
        raise ValueError(f"an array has {dimensions} dimensions, {MOST_DIMENSIONS} is the limit")
    if len(data) < start:
        raise ValueError("an array is cut off in its head")
    text = bytes(data[1:end]).decode("ascii", "backslashreplace")
    return text, struct.unpack_from(f"<{dimensions}Q", data, end + 1), start


def _dtype(text: str) -> numpy.dtype[Any]:
    if _DTYPE.fullmatch(text) is not None:
        try:
            return numpy.dtype(text)
        except (TypeError, ValueError):  # a number in it is too large
            pass
    raise ValueError(f"an array has no dtype {text[:40]!r}")


def _check_values(array: _Array) -> None:
    """Refuse bytes that are invalid values of their type, because numpy does not check them."""
    if not array.size:
        return
    if array.dtype.kind == "b" and array.view(numpy.uint8).max() > 1:
        raise ValueError("an array of bool has a value other than 0 and 1")
    if array.dtype.kind == "U" and array.reshape(-1).view("<u4").max() > LAST_CHARACTER:
        raise ValueError("an array of text has a value that is not a character")


def _decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    if annotation is numpy.memmap:
        raise TypeError("a memmap can be sent, but an ndarray arrives: write `numpy.ndarray`")
    shape, dtype = (*get_args(annotation), Any, Any)[:2]
    scalars = _scalars(dtype)
    sizes = _sizes(shape)

    def convert(plain: Any) -> Any:
        if not isinstance(plain, msgspec.msgpack.Ext) or plain.code != ARRAY_EXTENSION:
            raise ValueError(
                f"Expected a numpy array, which only msgpack carries, got `{type(plain).__name__}`"
            )
        array = array_in(memoryview(plain.data))
        if scalars and not issubclass(array.dtype.type, scalars):
            expected = " or ".join(scalar.__name__ for scalar in scalars)
            raise ValueError(f"Expected an array of {expected}, got one of {array.dtype}")
        if sizes is not None and not _has_sizes(array, sizes):
            expected = ", ".join("any" if size is None else str(size) for size in sizes)
            raise ValueError(f"Expected an array of shape ({expected}), got {array.shape}")
        return array

    return convert


def _scalars(dtype: Any) -> tuple[type[Any], ...]:
    """Return the element classes that an annotation allows; an empty tuple: any class."""
    kind = (*get_args(dtype), Any)[0]
    members = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    # A contract written by `fastrpc contract` contains the name `numpy.bool`.
    classes = [numpy.bool_ if member is bool else get_origin(member) or member for member in members]
    found = [cls for cls in classes if isinstance(cls, type) and issubclass(cls, numpy.generic)]
    for scalar in found:
        if issubclass(scalar, (numpy.object_, numpy.void, numpy.longdouble, numpy.clongdouble)):
            raise TypeError(f"numpy arrays of {scalar.__name__} do not travel{_TRAVELLING}")
    if len(found) < len(members):
        return ()
    return tuple(_INTEGERS.get(scalar, scalar) for scalar in found)


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    """Return the dimensions' sizes in an annotation (None: any size), or None if it allows any number of dimensions."""
    sizes = get_args(shape)
    if get_origin(shape) is not tuple or Ellipsis in sizes:
        return None
    return tuple(get_args(size)[0] if get_origin(size) is Literal else None for size in sizes)


def _has_sizes(array: _Array, sizes: tuple[int | None, ...]) -> bool:
    return array.ndim == len(sizes) and all(
        wanted is None or wanted == size for wanted, size in zip(sizes, array.shape, strict=True)
    )


def _encode_subclass(array: _Array, codec: str) -> Any:
    raise TypeError(f"a {type(array).__name__} does not travel; send numpy.asarray(…) of it")


def _encode_scalar(scalar: Any, codec: str) -> Any:
    value = scalar.item()
    if type(value) not in {bool, int, float, str, bytes}:
        raise TypeError(f"a numpy.{type(scalar).__name__} does not travel; send it in an array")
    return value


def _no_decoder(annotation: Any, inner: Inner) -> Callable[[Any], Any]:
    name = getattr(annotation, "__name__", annotation)
    raise TypeError(
        f"{name} is not a type of values that arrive: write `numpy.ndarray`, `float`, `int` or `bool`"
    )


def _schema(annotation: Any) -> dict[str, Any]:
    return {"description": "A numpy array, which only msgpack carries."}


_ARRAY = PayloadType(_encode, _decoder, is_array=True, may_hold_arrays=True, schema=_schema)
_SUBCLASS = PayloadType(_encode_subclass, _no_decoder)
_SCALAR = PayloadType(_encode_scalar, _no_decoder)

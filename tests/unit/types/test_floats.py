"""Numbers of 32 bits: their bytes, their shortest text, their range."""

import math
import random
import struct
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest

from fastrpc.types.floats import packed, packed_key, shortest_float

LARGEST = 3.4028234663852886e38
SMALLEST = 1.401298464324817e-45


def read(value: Any) -> Any:
    return msgspec.msgpack.decode(bytes(value))


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1, 0.1, -2.5, LARGEST, -LARGEST, SMALLEST, 1e-60, 3.4028235e38, 2**100]
)
def test_a_number_is_the_nearest_one_in_five_bytes(value: float) -> None:
    written = bytes(packed(value))
    assert written == b"\xca" + struct.pack(">f", value)
    assert shortest_float(value) == pytest.approx(value, rel=1e-6, abs=SMALLEST)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_have_32_bits_as_well(value: float) -> None:
    assert repr(read(packed(value))) == repr(value)
    assert repr(shortest_float(value)) == repr(value)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), np.int8(3), Fraction(1, 2)])
def test_numbers_of_other_classes_are_taken(value: Any) -> None:
    assert read(packed(value)) == shortest_float(value) == float(value)


@pytest.mark.parametrize("value", [None, True, "1.5", b"\x01", Decimal("1.5"), [1.5]])
def test_objects_other_than_numbers_are_unchanged(value: Any) -> None:
    for write in (packed, packed_key, shortest_float):
        assert write(value) is value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3.4028236e38, r"3\.4028236e\+38"),
        (-1e300, r"-1e\+300"),
        (10**40, "an integer of 133 bits"),
        (10**9000, "bits"),
    ],
    ids=["near", "far", "integer", "long integer"],
)
def test_a_number_beyond_the_range_is_refused_by_its_name(value: Any, said: str) -> None:
    for write in (packed, packed_key, shortest_float):
        with pytest.raises(ValueError, match=f"{said} is beyond the range of Float32"):
            write(value)


def test_the_shortest_number_is_the_same_in_32_bits() -> None:
    chosen = random.Random(4)
    for _ in range(2_000):
        [value] = struct.unpack("f", chosen.randbytes(4))
        if math.isfinite(value):
            short = shortest_float(value)
            assert struct.pack("f", short) == struct.pack("f", value)
            assert len(repr(short)) <= len(repr(value))
    assert repr(shortest_float(struct.unpack("f", struct.pack("f", 0.1))[0])) == "0.1"

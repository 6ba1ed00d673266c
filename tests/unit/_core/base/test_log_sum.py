"""The checksum of SQLite's write-ahead log."""

import struct
from random import Random

import pytest

from fastrpc._core.base.log_sum import log_sum


def summed(data: bytes, first: int, second: int, order: str) -> tuple[int, int]:
    """Return the checksum as the page of the format has it."""
    for even, odd in struct.iter_unpack(f"{order}2I", data):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


@pytest.mark.parametrize(("is_big", "order"), [(False, "<"), (True, ">")])
@pytest.mark.parametrize("size", [0, 8, 24, 4096])
def test_sum_is_the_one_of_the_format(size: int, is_big: bool, order: str) -> None:
    chance = Random(size)
    data, sums = chance.randbytes(size), (chance.getrandbits(32), chance.getrandbits(32))
    assert log_sum(data, *sums, is_big=is_big) == summed(data, *sums, order)
    assert log_sum(memoryview(data), *sums, is_big=is_big) == summed(data, *sums, order)


def test_sum_continues() -> None:
    data = Random(1).randbytes(80)
    sums = log_sum(data[:32], 0, 0, is_big=False)
    assert log_sum(data[32:], *sums, is_big=False) == log_sum(data, 0, 0, is_big=False)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="pairs of words, not 12 bytes"):
        log_sum(bytes(12), 0, 0, is_big=False)

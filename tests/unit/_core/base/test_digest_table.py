"""Digests are found by work that does not depend on them."""

import hashlib
import random

import pytest

from fastrpc._core.base.digest_table import DigestTable


def digest_of(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 16, 17, 100, 10_000])
def test_each_digest_is_found_by_its_number_and_no_other_is(count: int) -> None:
    table = DigestTable([digest_of(number) for number in range(count)])
    assert [table.find(digest_of(number)) for number in range(count)] == list(range(count))
    assert {table.find(digest_of(-1 - number)) for number in range(1_000)} == {-1}


def test_digests_that_differ_in_one_bit_are_told_apart() -> None:
    one = digest_of(1)
    table = DigestTable([one])
    for place in range(256):
        other = bytearray(one)
        other[place // 8] ^= 1 << place % 8
        assert table.find(bytes(other)) == -1


def test_digests_at_one_place_are_all_found() -> None:
    numbers = random.Random(1)
    alike = [b"\0" * 8 + numbers.randbytes(24) for _ in range(50)]
    last = [b"\xff" * 8 + numbers.randbytes(24) for _ in range(50)]
    table = DigestTable([*alike, *last])
    assert [table.find(digest) for digest in [*alike, *last]] == list(range(100))
    assert table.find(b"\0" * 32) == table.find(b"\xff" * 32) == -1
    assert table.reach == 50


def test_a_search_looks_at_few_slots() -> None:
    for count in (17, 100, 1_000, 10_000):
        assert DigestTable([digest_of(number) for number in range(count)]).reach <= 12


def test_each_search_among_few_digests_looks_at_all_of_them() -> None:
    for count in (1, 2, 16):
        assert DigestTable([digest_of(number) for number in range(count)]).reach == count


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_digest_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"has {size} bytes"):
        DigestTable([bytes(size)])
    with pytest.raises(ValueError, match=f"has {size} bytes"):
        DigestTable([]).find(bytes(size))

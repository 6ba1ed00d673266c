"""Pairs of metadata in every form that grpcio takes."""

from typing import Any

import grpc
import pytest

from fastrpc._core.payload.metadata import encode_pairs
from fastrpc.grpc.metadata import pairs_in, pairs_of

PAIRS = (("room", "hall"), ("room", "garden"), ("seat-bin", b"\x01"))


@pytest.mark.parametrize("metadata", [PAIRS, list(PAIRS), iter(PAIRS), grpc.aio.Metadata(*PAIRS)])
def test_pairs_keep_their_order_and_their_repeats(metadata: Any) -> None:
    pairs = pairs_of(metadata)
    assert pairs == PAIRS
    assert (pairs[0].key, pairs[0].value) == ("room", "hall")


def test_a_mapping_has_each_key_once() -> None:
    assert pairs_of({"room": "hall"}) == (("room", "hall"),)


@pytest.mark.parametrize("metadata", [None, (), {}])
def test_no_metadata_is_no_pairs(metadata: Any) -> None:
    assert pairs_of(metadata) == ()
    assert pairs_in(b"") == ()


def test_values_get_the_types_of_their_keys() -> None:
    assert pairs_of([("room", b"hall"), ("seat-bin", "1")]) == (("room", "hall"), ("seat-bin", b"1"))


def test_pairs_that_came_are_those_that_were_sent() -> None:
    assert pairs_in(encode_pairs(PAIRS)) == PAIRS


def test_a_key_in_bytes_is_text() -> None:
    assert pairs_of(((b"room", "hall"), (b"seat-bin", b"\x01"))) == (("room", "hall"), ("seat-bin", b"\x01"))

"""The body of a request, as its reader collects it."""

import pytest

from fastrpc._core.exchange.request_head import RequestLimits, RequestRefusedError
from fastrpc._core.http1.body import BodyReader

CHUNKS = b"3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX: 1\r\n\r\n"


def reader(length: int, limit: int = 100) -> BodyReader:
    return BodyReader(length, limit, RequestLimits())


def test_a_body_ends_at_its_stated_length() -> None:
    body = reader(5)
    assert body.take_data(b"hel") == 3
    assert not body.is_whole
    assert body.take_data(b"lo and more") == 2
    assert (body.is_whole, body.value()) == (True, b"hello")
    assert body.take_data(b"more") == 0


def test_no_body_is_whole_at_once() -> None:
    assert reader(0).is_whole


@pytest.mark.parametrize("size", range(1, len(CHUNKS) + 1))
def test_chunks_are_joined_at_any_division(size: int) -> None:
    body, kept = reader(-1), b""
    for at in range(0, len(CHUNKS), size):
        kept += CHUNKS[at : at + size]
        kept = kept[body.take_data(kept) :]
    assert (body.is_whole, body.value(), kept) == (True, b"hello", b"")


def test_bytes_after_the_last_chunk_are_left() -> None:
    assert reader(-1).take_data(CHUNKS + b"GET / HTTP/1.1") == len(CHUNKS)


@pytest.mark.parametrize("length", [-1, 6])
def test_a_body_over_its_limit_is_refused(length: int) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        reader(length, limit=5).take_data(b"6\r\nhello!\r\n0\r\n\r\n")
    assert caught.value.status == 413


def test_a_size_at_the_end_of_its_range_is_refused_by_the_limit() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        reader(-1).take_data(b"7fffffffffffffe\r\n")
    assert caught.value.status == 413

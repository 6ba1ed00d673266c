"""The head of a request, as the parser gives it."""

import pytest

from fastrpc._core.exchange.request_head import RequestHead, RequestLimits, RequestRefusedError
from fastrpc._core.http1.head import parse_request_head


def parsed(*fields: bytes, line: bytes = b"GET /x?a=b HTTP/1.1") -> RequestHead:
    data = b"\r\n".join([line, *fields, b"", b""])
    head, size = parse_request_head(data, RequestLimits())
    assert head is not None
    assert size == len(data)
    return head


def test_a_head_has_its_parts() -> None:
    head = parsed(b"Host: Shop:80", b"X-One: a", b"x-one:  b\t", b"Y: \xe9")
    assert (head.method, head.target, head.path, head.query) == ("GET", "/x?a=b", "/x", "a=b")
    assert (head.minor_version, head.host, head.content_length, head.has_body) == (1, "Shop:80", 0, False)
    assert head.fields == [("host", "Shop:80"), ("x-one", "a"), ("x-one", "b"), ("y", "\xe9")]
    assert head.values("x-one") == ["a", "b"]
    assert head.values("z") == []


def test_a_head_says_how_its_body_comes() -> None:
    assert parsed(b"Host: a", b"Content-Length: 17").content_length == 17
    chunked = parsed(b"Host: a", b"Transfer-Encoding: CHUNKED")
    assert (chunked.content_length, chunked.has_body) == (-1, True)
    assert parsed(b"Host: a", b"Content-Length: 1", b"Expect: 100-Continue").expects_continue
    assert not parsed(b"Host: a", b"Expect: 100-continue", line=b"GET / HTTP/1.0").expects_continue


def test_a_part_of_a_head_is_waited_for() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for size in range(len(data)):
        assert parse_request_head(data[:size], RequestLimits()) == (None, 0)
    head, size = parse_request_head(data + b"more", RequestLimits())
    assert (head is not None, size) == (True, len(data))


def test_its_repr_shows_no_field() -> None:
    assert repr(parsed(b"Host: a", b"Authorization: secret")) == "<RequestHead GET /x HTTP/1.1>"


def test_a_refusal_has_a_status_and_a_text() -> None:
    with pytest.raises(RequestRefusedError) as caught:
        parsed()
    assert (caught.value.status, caught.value.text) == (400, "there are 0 Host fields, there must be one")


def test_limits_are_exact() -> None:
    limits = RequestLimits(headers=2, header_bytes=20, target_bytes=5)
    fits = b"GET /1234 HTTP/1.1\r\nHost: a\r\nX: 1234\r\n\r\n"
    assert parse_request_head(fits, limits)[1] == len(fits)
    for too_much, status in (
        (fits.replace(b"/1234", b"/12345"), 414),
        (fits.replace(b"X: 1234", b"X: 12345678"), 431),
        (fits.replace(b"X: 1234", b"X:\r\nY:"), 431),
    ):
        with pytest.raises(RequestRefusedError) as caught:
            parse_request_head(too_much, limits)
        assert caught.value.status == status

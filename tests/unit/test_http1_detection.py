"""The first bytes of a connection that speaks HTTP/1.1."""

import pytest

from fastrpc.protocols.base import Match
from fastrpc.protocols.http.detection import detect_http1


@pytest.mark.parametrize(
    "data",
    [b"GET /", b"POST /x HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1", b"GET http://a/", b"DELETE /", b"PROPFIND /x"],
)
def test_a_method_and_the_start_of_a_target_is_http(data: bytes) -> None:
    assert detect_http1(data) is Match.YES
    # However few of its bytes came, it is not ruled out.
    for size in range(data.index(b" ") + 1):
        assert detect_http1(data[:size]) is Match.MORE


@pytest.mark.parametrize(
    "data",
    [
        b"\xf5FRPC",
        b"\x16\x03\x01",
        b"get /",
        b" GET /",
        b"GET\r",
        b"GET x",
        b"G" * 17,
        b"\x00",
        b"{",
        b"GET\x00",
        b"PRI ",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_anything_else_is_not(data: bytes) -> None:
    assert detect_http1(data) is Match.NO

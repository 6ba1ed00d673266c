"""The head of a request that comes as fields, as by HTTP/2."""

import pytest

from fastrpc._core.exchange.request_head import (
    RequestHead,
    RequestLimits,
    RequestRefusedError,
    head_of_fields,
)

HOST = (b"host", b"Shop:80")


def made(*fields: tuple[bytes, bytes], method: bytes = b"GET", target: bytes = b"/x?a=b") -> RequestHead:
    return head_of_fields(method, target, list(fields), RequestLimits())


def test_a_head_has_its_parts() -> None:
    head = made(HOST, (b"x-one", b"a"), (b"accept", b"*/*"), (b"x-one", b"b"), (b"y", b"\xe9"))
    assert (head.method, head.target, head.path, head.query) == ("GET", "/x?a=b", "/x", "a=b")
    assert (head.version, head.host, head.content_length, head.has_body) == ("2", "Shop:80", -1, True)
    assert head.fields == [
        ("host", "Shop:80"),
        ("x-one", "a"),
        ("accept", "*/*"),
        ("x-one", "b"),
        ("y", "\xe9"),
    ]
    assert (head.values("x-one"), head.values("accept"), head.values("z")) == (["a", "b"], ["*/*"], [])


def test_its_fields_cannot_be_changed_from_outside() -> None:
    head = made(HOST)
    head.fields.append(("x", "1"))
    assert head.fields == [("host", "Shop:80")]


def test_a_head_has_the_length_that_was_stated() -> None:
    head = head_of_fields(b"POST", b"/", [HOST], RequestLimits(), 17)
    assert (head.content_length, head.has_body) == (17, True)


def test_a_stream_that_ends_with_the_head_has_no_body() -> None:
    head = head_of_fields(b"POST", b"/", [HOST], RequestLimits(), is_whole=True)
    assert (head.content_length, head.has_body) == (0, False)


def test_an_extended_connect_names_its_protocol() -> None:
    head = head_of_fields(b"CONNECT", b"/ws", [HOST], RequestLimits(), protocol=b"websocket")
    assert (head.method, head.protocol, made(HOST).protocol) == ("CONNECT", b"websocket", None)


def test_its_repr_shows_no_field() -> None:
    assert repr(made(HOST, (b"authorization", b"secret"))) == "<RequestHead GET /x HTTP/2>"


def test_a_client_may_wait_to_be_asked_for_the_body() -> None:
    assert made(HOST, (b"expect", b"100-Continue")).expects_continue
    assert not made(HOST).expects_continue


@pytest.mark.parametrize(
    ("method", "target", "fields", "status"),
    [
        (b"G T", b"/", (HOST,), 400),
        (b"G" * 33, b"/", (HOST,), 400),
        (b"GET", b"/" * 8_193, (HOST,), 414),
        (b"GET", b"/", (), 400),
        (b"GET", b"/", (HOST, HOST), 400),
        (b"GET", b"/", ((b"host", b""),), 400),
        (b"GET", b"/", ((b"host", b"a b"),), 400),
        (b"GET", b"/", ((b"host", b"a:65536"),), 400),
        (b"GET", b"/", (HOST, (b"expect", b"more")), 417),
        (b"GET", b"/", (HOST, *[(b"x", b"1")] * 100), 431),
        (b"GET", b"/", (HOST, (b"x", b"1" * 32_768)), 431),
    ],
)
def test_a_head_that_could_mislead_or_is_too_large_is_refused(
    method: bytes, target: bytes, fields: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        made(*fields, method=method, target=target)
    assert caught.value.status == status


def test_limits_are_exact() -> None:
    limits = RequestLimits(headers=2, header_bytes=17, target_bytes=5)
    assert head_of_fields(b"GET", b"/1234", [(b"host", b"a"), (b"x", b"12345")], limits).target == "/1234"
    with pytest.raises(RequestRefusedError):
        head_of_fields(b"GET", b"/1234", [(b"host", b"a"), (b"x", b"123456")], limits)

"""Heads and trailers: which fields a message may have (RFC 9113, section 8)."""

import pytest
from hpack import Encoder

from fastrpc._core.http2.header_block import HeaderBlock
from fastrpc._core.http2.hpack import HpackDecoder
from fastrpc_harness.http2_blocks import (
    broken_rule,
    decode_block,
    length_of,
    name_token,
    value_of,
    violation_rows,
)

Pair = tuple[str, str]

METHOD, SCHEME, PATH = (":method", "POST"), (":scheme", "http"), (":path", "/a/b")
AUTHORITY, STATUS = (":authority", "a:1"), (":status", "200")
REQUEST = (METHOD, SCHEME, PATH, AUTHORITY)


def block_of(*fields: Pair) -> HeaderBlock:
    return decode_block(HpackDecoder(), Encoder().encode(fields, huffman=False))


def broken(kind: str, *fields: Pair) -> str:
    rule = broken_rule(block_of(*fields), kind)
    if not rule:
        return ""
    is_of_connection, code, text = violation_rows()[rule]
    # A malformed message ends its stream with PROTOCOL_ERROR.
    assert (is_of_connection, code) == (False, 1)
    return text


@pytest.mark.parametrize(
    "fields",
    [
        REQUEST,
        (METHOD, SCHEME, PATH),
        (PATH, AUTHORITY, SCHEME, METHOD),
        (*REQUEST, ("host", "a:1")),
        (METHOD, SCHEME, PATH, ("host", "b")),
        (*REQUEST, ("te", "trailers"), ("content-length", "12"), ("x", "1"), ("x", "2")),
        ((":method", "OPTIONS"), SCHEME, (":path", "*"), AUTHORITY),
        ((":method", "CONNECT"), AUTHORITY),
        (METHOD, SCHEME, (":path", "/a?b=c"), (":authority", "[::1]:50051")),
    ],
)
def test_sound_requests_are_taken(fields: tuple[Pair, ...]) -> None:
    assert broken("request", *fields) == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((), "missing"),
        ((SCHEME, PATH, AUTHORITY), "missing"),
        ((METHOD, PATH, AUTHORITY), "missing"),
        ((METHOD, SCHEME, AUTHORITY), "missing"),
        ((METHOD, SCHEME, (":path", ""), AUTHORITY), "missing"),
        (((":method", ""), SCHEME, PATH), "missing"),
        ((METHOD, (":scheme", ""), PATH), "missing"),
        ((METHOD, SCHEME, (":path", "a/b")), "path"),
        ((METHOD, SCHEME, (":path", "*")), "path"),
        ((METHOD, SCHEME, (":path", "http://a/b")), "path"),
        ((METHOD, SCHEME, (":path", "/a#b")), "path"),
        ((*REQUEST, METHOD), "twice"),
        ((*REQUEST, PATH), "twice"),
        ((*REQUEST, AUTHORITY), "twice"),
        ((METHOD, ("x", "1"), SCHEME, PATH), "after a regular one"),
        ((*REQUEST, ("x", "1"), METHOD), "after a regular one"),
        ((*REQUEST, STATUS), "kind of head"),
        ((*REQUEST, (":protocol", "websocket")), "kind of head"),
        (((":method", "CONNECT"), AUTHORITY, PATH), "kind of head"),
        (((":method", "CONNECT"),), "missing"),
        ((*REQUEST, (":other", "1")), "unknown"),
        ((METHOD, SCHEME, PATH, (":authority", "")), "authority"),
        ((METHOD, SCHEME, PATH, (":authority", "user@a")), "authority"),
        ((*REQUEST, ("host", "b")), "authority"),
        ((*REQUEST, ("host", "a:1"), ("host", "b")), "authority"),
        ((*REQUEST, ("host", "a:1"), ("host", "a:1")), "authority"),
        ((*REQUEST, ("content-length", "")), "content-length"),
        ((*REQUEST, ("content-length", "-1")), "content-length"),
        ((*REQUEST, ("content-length", "+1")), "content-length"),
        ((*REQUEST, ("content-length", "0x1")), "content-length"),
        ((*REQUEST, ("content-length", "1,1")), "content-length"),
        ((*REQUEST, ("content-length", "1" * 19)), "content-length"),
        ((*REQUEST, ("content-length", "1"), ("content-length", "1")), "content-length"),
        ((*REQUEST, ("connection", "close")), "about the connection"),
        ((*REQUEST, ("X", "1")), "capital"),
    ],
)
def test_malformed_requests_are_found(fields: tuple[Pair, ...], text: str) -> None:
    assert text in (broken("request", *fields) or "taken")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((STATUS,), ""),
        (((":status", "100"),), ""),
        (((":status", "999"),), ""),
        ((STATUS, ("content-length", "0")), ""),
        ((), "missing"),
        ((("content-type", "a"),), "missing"),
        ((STATUS, STATUS), "twice"),
        ((STATUS, PATH), "kind of head"),
        ((STATUS, AUTHORITY), "kind of head"),
        ((("x", "1"), STATUS), "after a regular one"),
        (((":status", "20"),), "three digits"),
        (((":status", "2000"),), "three digits"),
        (((":status", "2x0"),), "three digits"),
        (((":status", "000"),), "three digits"),
        (((":status", "099"),), "three digits"),
        (((":status", ""),), "three digits"),
    ],
)
def test_answers_are_checked(fields: tuple[Pair, ...], text: str) -> None:
    found = broken("response", *fields)
    assert text in found
    assert bool(text) == bool(found)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((), ""),
        ((("grpc-status", "0"), ("grpc-message", "")), ""),
        ((STATUS,), "kind of head"),
        ((METHOD,), "kind of head"),
        ((("te", "gzip"),), "te is"),
    ],
)
def test_trailers_are_checked(fields: tuple[Pair, ...], text: str) -> None:
    found = broken("trailers", *fields)
    assert text in found
    assert bool(text) == bool(found)


def test_fields_are_found_by_their_tokens() -> None:
    block = block_of(
        *REQUEST, ("x", "1"), ("grpc-timeout", "5S"), ("content-type", "a"), ("content-type", "b")
    )
    assert value_of(block, name_token(b":path")) == b"/a/b"
    assert value_of(block, name_token(b"grpc-timeout")) == b"5S"
    # The first of several.
    assert value_of(block, name_token(b"content-type")) == b"a"
    assert value_of(block, name_token(b"te")) is None
    # Names without a token have no token in common.
    assert value_of(block, 0) is None


@pytest.mark.parametrize(("value", "length"), [("0", 0), ("12", 12), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_the_content_length_is_a_number(value: str, length: int) -> None:
    assert length_of(block_of(*REQUEST, ("content-length", value))) == length


def test_a_missing_content_length_is_minus_one() -> None:
    assert length_of(block_of(*REQUEST)) == -1


def test_fields_know_their_kind() -> None:
    fields = block_of(*REQUEST, ("x-bin", "AA"), ("-bin", "AA")).fields
    assert [field.is_pseudo for field in fields] == [True] * 4 + [False] * 2
    assert [field.is_binary for field in fields] == [False] * 4 + [True, False]
    assert [field.size for field in fields][:2] == [len(":methodPOST") + 32, len(":schemehttp") + 32]


def test_values_do_not_appear_in_the_repr() -> None:
    block = block_of(("authorization", "a-secret"))
    assert "a-secret" not in repr(block) + repr(block.fields)

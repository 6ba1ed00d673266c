"""The tables of HPACK: the static one, names as tokens, fields that break a rule, and the dynamic one."""

from collections import deque
from random import Random

import pytest
from hpack.table import HeaderTable

from fastrpc._core.http2.header_block import DynamicTable
from fastrpc._core.http2.hpack import HpackDecoder
from fastrpc_harness.http2_blocks import (
    add_field,
    decode_block,
    field_rule,
    name_token,
    pairs_of,
    set_capacity,
    table_fields,
    token_name,
    violation_rows,
)
from tests.conftest import Scale


def text_of(rule: int) -> str:
    return violation_rows()[rule][2] if rule else ""


def test_the_static_table_matches_the_reference() -> None:
    block = decode_block(HpackDecoder(list_limit=1 << 20), bytes(0x80 | index for index in range(1, 62)))
    assert pairs_of(block) == list(HeaderTable.STATIC_TABLE)


def test_names_have_tokens() -> None:
    names = list(dict.fromkeys(name for name, _ in HeaderTable.STATIC_TABLE))
    assert [token_name(token) for token in range(1, 53)] == names
    assert token_name(0) is None
    assert token_name(71) == b"frpc-outcome"
    for token in range(1, 72):
        name = token_name(token)
        assert name is not None
        assert name_token(name) == token


@pytest.mark.parametrize(
    "name", [b"", b":", b"t", b"tee", b"Te", b"grpc-timeoux", b"x" * 32, b"x" * 33, b"x" * 999]
)
def test_other_names_have_no_token(name: bytes) -> None:
    assert name_token(name) == 0


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (b"a", b"", ""),
        (b"a", b"b c\td", ""),
        (b"x-1!#$%&'*+.^_`|~", b"\x80\xff", ""),
        (b"te", b"trailers", ""),
        (b":path", b"/", ""),
        (b"", b"", "empty name"),
        (b"", b"a", "empty name"),
        (b"A", b"", "capital letter"),
        (b"grpc-Timeout", b"1S", "capital letter"),
        (b"a b", b"", "no name has"),
        (b" a", b"", "no name has"),
        (b"a:", b"", "no name has"),
        (b"a\x00", b"", "no name has"),
        (b"a\r\nb", b"", "no name has"),
        (b"a\x7f", b"", "no name has"),
        (b"a\xe9", b"", "no name has"),
        (b"a(", b"", "no name has"),
        (b":", b"", "unknown"),
        (b":Path", b"/", "unknown"),
        (b":paths", b"/", "unknown"),
        (b":te", b"/", "unknown"),
        (b"a", b"\x00", "no value has"),
        (b"a", b"b\nc", "no value has"),
        (b"a", b"b\rc", "no value has"),
        (b"a", b"b\r\n c", "no value has"),
        (b"a", b"\x1b", "no value has"),
        (b"a", b"\x7f", "no value has"),
        (b"a", b" b", "white space"),
        (b"a", b"b ", "white space"),
        (b"a", b"\tb", "white space"),
        (b"a", b"b\t", "white space"),
        (b"a", b" ", "white space"),
        (b":path", b"/a b", "no value has"),
        (b":path", b"/\xe9", "no value has"),
        (b":authority", b"a\tb", "no value has"),
        (b"te", b"", "trailers"),
        (b"te", b"gzip", "trailers"),
        (b"te", b"trailers, gzip", "trailers"),
        (b"te", b"Trailers", "trailers"),
        (b"connection", b"close", "about the connection"),
        (b"keep-alive", b"1", "about the connection"),
        (b"proxy-connection", b"close", "about the connection"),
        (b"transfer-encoding", b"chunked", "about the connection"),
        (b"upgrade", b"h2c", "about the connection"),
    ],
)
def test_names_and_values_are_checked(name: bytes, value: bytes, text: str) -> None:
    found = text_of(field_rule(name, value))
    assert text in found
    assert bool(text) == bool(found)


def test_the_oldest_fields_leave() -> None:
    table = DynamicTable(100)
    add_field(table, b"a", b"1")
    add_field(table, b"b", b"2")
    assert (table.size, table_fields(table)) == (68, [(b"b", b"2"), (b"a", b"1")])
    add_field(table, b"c", b"3")
    assert (table.size, table_fields(table)) == (68, [(b"c", b"3"), (b"b", b"2")])
    set_capacity(table, 34)
    assert (table.size, table_fields(table)) == (34, [(b"c", b"3")])
    add_field(table, b"d", b"45")
    assert (table.size, table.count, table_fields(table)) == (0, 0, [])


def test_each_change_gives_another_generation() -> None:
    table = DynamicTable()
    seen = {table.generation}
    add_field(table, b"a", b"b")
    seen.add(table.generation)
    set_capacity(table, 4096)
    seen.add(table.generation)
    seen.add(DynamicTable().generation)
    assert len(seen) == 4


def test_a_table_is_a_queue_of_bytes(scale: Scale) -> None:
    for seed in scale.seeds(400):
        random = Random(seed)
        table, capacity = DynamicTable(), 4096
        expected = deque[tuple[bytes, bytes]]()
        for _ in range(200):
            if random.random() < 0.05:
                capacity = random.choice((0, 31, 32, 100, 1000, 4096))
                set_capacity(table, capacity)
            else:
                pair = random.randbytes(random.randrange(40)), random.randbytes(random.randrange(60))
                expected.appendleft(pair)
                add_field(table, *pair)
            while sum(len(name) + len(value) + 32 for name, value in expected) > capacity:
                expected.pop()
            assert table_fields(table) == list(expected)
            assert table.count == len(expected)

"""The HPACK decoder: the examples of RFC 7541, wrong blocks, bounds, and blocks that come again."""

from itertools import pairwise

import pytest
from hpack import Encoder

from fastrpc._core.http2.hpack import HpackDecoder
from fastrpc_harness.http2_blocks import (
    Http2ViolationError,
    broken_rule,
    decode_again,
    decode_block,
    limit_decoder,
    name_token,
    note_of,
    pairs_of,
    table_fields,
    twin_of,
    value_of,
    violation_rows,
)
from tests.support.hpack_vectors import SEQUENCES, SINGLE

COMPRESSION_ERROR = 9

HEAD = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/shop.v1.Orders/GetItem"),
    (":authority", "localhost:50051"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
]


@pytest.mark.parametrize("name", SINGLE)
def test_single_blocks_of_the_rfc(name: str) -> None:
    block, pair, is_indexed, is_sensitive = SINGLE[name]
    decoder = HpackDecoder()
    decoded = decode_block(decoder, bytes.fromhex(block))
    assert pairs_of(decoded) == [pair]
    assert table_fields(decoder.table) == ([pair] if is_indexed else [])
    assert [field.is_sensitive for field in decoded.fields] == [is_sensitive]


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_the_rfc(name: str) -> None:
    limit, blocks = SEQUENCES[name]
    decoder = HpackDecoder(table_limit=limit)
    for block, pairs, table, size in blocks:
        assert pairs_of(decode_block(decoder, bytes.fromhex(block))) == pairs
        assert table_fields(decoder.table) == table
        assert decoder.table.size == size


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ("80", "index 0"),
        ("be", "index 62"),
        ("ff00", "index 127"),
        ("ffffffff7f", "index"),
        ("7e0161", "index 62"),
        ("0f2f0161", "index 62"),
        ("82be", "index 62"),
        # Integers that are cut, too long, or zeros without an end.
        ("ff", "integer"),
        ("ff80", "integer"),
        ("ff80808080", "integer"),
        ("ff8080808000", "integer"),
        ("ffffffffffff00", "integer"),
        ("1f", "integer"),
        ("3f", "integer"),
        ("40", "integer"),
        ("400161", "integer"),
        ("0001617f", "integer"),
        ("000161ff", "integer"),
        ("007fffffffff0f", "integer"),
        # Strings that are longer than the block.
        ("4002", "2 bytes"),
        ("400261", "2 bytes"),
        ("4001610261", "2 bytes"),
        ("00ffe8ffff7f", "bytes"),
        # Huffman codes: EOS, padding with zeros, padding of a byte.
        ("0001618400ffffff", "Huffman"),
        ("00016184ffffffff", "Huffman"),
        ("0001618100", "Huffman"),
        ("0001618207ff", "Huffman"),
        ("008100", "Huffman"),
        # Table size updates: after a field, too large, too many.
        ("8220", "after a field"),
        ("203f", "integer"),
        ("3fe21f", "update is 4097"),
        ("3fffffff7f", "update is"),
        ("202020", "more than 2"),
    ],
)
def test_wrong_blocks_end_the_connection(block: str, text: str) -> None:
    with pytest.raises(Http2ViolationError, match=text) as caught:
        decode_block(HpackDecoder(), bytes.fromhex(block))
    assert (caught.value.code, caught.value.is_of_connection) == (COMPRESSION_ERROR, True)


def test_a_cut_block_is_refused_or_has_less() -> None:
    whole = Encoder().encode(HEAD)
    pairs = pairs_of(decode_block(HpackDecoder(), whole))
    refused = 0
    for size in range(len(whole)):
        try:
            found = pairs_of(decode_block(HpackDecoder(), whole[:size]))
        except Http2ViolationError:
            refused += 1
        else:
            assert found == pairs[: len(found)]
            assert len(found) < len(pairs)
    # Only between two fields it is not.
    assert refused == len(whole) - len(pairs)


def test_an_empty_block_has_no_fields() -> None:
    assert pairs_of(decode_block(HpackDecoder(), b"")) == []


def test_two_updates_at_the_beginning_are_taken() -> None:
    decoder = HpackDecoder()
    decode_block(decoder, Encoder().encode([("a", "b")]))
    assert decoder.table.count == 1
    # To 0, then to 4,096: the table is empty after it.
    decode_block(decoder, bytes.fromhex("203fe11f82"))
    assert (decoder.table.count, decoder.table.capacity) == (0, 4096)


class TestAcknowledgedLimits:
    def test_a_lower_limit_needs_an_update(self) -> None:
        decoder = HpackDecoder()
        limit_decoder(decoder, 100)
        with pytest.raises(Http2ViolationError, match="larger than the acknowledged 100"):
            decode_block(decoder, b"\x82")

    def test_an_update_to_the_limit_is_enough(self) -> None:
        decoder = HpackDecoder()
        limit_decoder(decoder, 30)
        assert pairs_of(decode_block(decoder, b"\x3e\x82")) == [(b":method", b"GET")]
        assert pairs_of(decode_block(decoder, b"\x82")) == [(b":method", b"GET")]

    def test_a_known_block_is_no_way_around_it(self) -> None:
        decoder = HpackDecoder()
        decode_block(decoder, b"\x82")
        decode_block(decoder, b"\x82")
        limit_decoder(decoder, 100)
        with pytest.raises(Http2ViolationError):
            decode_block(decoder, b"\x82")

    def test_a_table_within_the_limit_needs_no_update(self) -> None:
        decoder = HpackDecoder()
        decode_block(decoder, b"\x3e")
        limit_decoder(decoder, 30)
        assert pairs_of(decode_block(decoder, b"\x82")) == [(b":method", b"GET")]

    def test_a_raised_limit_may_be_used(self) -> None:
        decoder = HpackDecoder()
        limit_decoder(decoder, 8192)
        assert decoder.table.capacity == 4096
        decode_block(decoder, bytes.fromhex("3fe13f"))
        assert decoder.table.capacity == 8192


class TestLimitOfABlock:
    def test_a_block_at_the_limit_is_whole(self) -> None:
        decoder = HpackDecoder(list_limit=68)
        block = decode_block(decoder, bytes.fromhex("000161016200016301" + "64"))
        assert (block.size, block.is_too_large, len(block.fields)) == (68, False, 2)

    def test_fields_above_the_limit_are_left_out_and_the_table_continues(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder(list_limit=100)
        block = decode_block(decoder, encoder.encode([("a", "1" * 20), ("b", "2" * 60), ("c", "3")]))
        assert block.is_too_large
        assert pairs_of(block) == [(b"a", b"1" * 20)]
        assert decoder.table.count == 3
        following = decode_block(decoder, encoder.encode([("c", "3")]))
        assert (pairs_of(following), following.is_too_large) == ([(b"c", b"3")], False)

    def test_a_bomb_is_counted_and_not_built(self) -> None:
        decoder = HpackDecoder()
        decode_block(decoder, Encoder().encode([("a", "1" * 4000)], huffman=False))
        block = decode_block(decoder, b"\xbe" * 65_536)
        assert block.is_too_large
        assert block.size == 65_536 * 4033
        assert len(block.fields) == 2


class TestKnownBlocks:
    def test_an_equal_block_at_an_unchanged_table_is_the_same(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        first = decode_block(decoder, encoder.encode(HEAD))
        raw = encoder.encode(HEAD)
        second = decode_block(decoder, raw)
        assert second is not first
        assert pairs_of(second) == pairs_of(first)
        assert decode_block(decoder, bytes(bytearray(raw))) is second

    def test_heads_and_trailers_by_turns_are_known(self) -> None:
        decoder = HpackDecoder()
        blocks = [bytes([0x80 | index]) for index in range(1, 62)]
        known = 0
        for one, other in pairwise(blocks):
            before = [decode_block(decoder, raw) for raw in (one, other)]
            known += all(
                decode_block(decoder, raw) is block for raw, block in zip((one, other), before, strict=True)
            )
        # Two blocks share a place now and then, and never mean each other.
        assert known >= 30

    def test_a_block_that_changes_the_table_is_not_kept(self) -> None:
        decoder = HpackDecoder()
        raw = Encoder().encode([("a", "b")])
        assert decode_block(decoder, raw) is not decode_block(decoder, raw)
        assert decoder.table.count == 2

    def test_a_change_of_the_table_ends_it(self) -> None:
        decoder = HpackDecoder()
        decode_block(decoder, Encoder().encode([("a", "1")]))
        first = decode_block(decoder, b"\xbe")
        decode_block(decoder, Encoder().encode([("b", "2")]))
        second = decode_block(decoder, b"\xbe")
        assert (pairs_of(first), pairs_of(second)) == ([(b"a", b"1")], [(b"b", b"2")])

    def test_an_update_of_the_same_size_ends_it(self) -> None:
        decoder = HpackDecoder()
        first = decode_block(decoder, b"\x82")
        decode_block(decoder, bytes.fromhex("3fe11f"))
        assert decode_block(decoder, b"\x82") is not first

    def test_a_block_with_a_new_value_is_kept_once_it_comes_again(self) -> None:
        decoder = HpackDecoder()
        raw = b"\x82\x0f\x11\x02on"
        first, second = decode_block(decoder, raw), decode_block(decoder, raw)
        assert second is not first
        assert decode_block(decoder, raw) is second

    def test_a_block_begins_with_the_known_fields(self) -> None:
        decoder = HpackDecoder()
        indexes = b"\x83\x86\x84"
        blocks = [decode_block(decoder, indexes + b"\x00\x01t\x01%d" % count) for count in range(5)]
        assert [pairs_of(block)[:3] for block in blocks] == [
            [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/")]
        ] * 5
        assert [pairs_of(block)[3:] for block in blocks] == [[(b"t", b"%d" % count)] for count in range(5)]
        assert [block.size for block in blocks] == [43 + 43 + 38 + 34] * 5
        # Its beginning is one block, known by itself.
        assert pairs_of(decode_block(decoder, indexes)) == pairs_of(blocks[0])[:3]

    def test_a_head_that_differs_in_its_timeout_has_a_twin(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        heads = []
        for path, timeout in (("/a/b", "1S"), ("/a/b", "2S"), ("/c/d", "3S"), ("/a/b", "4S"), ("/a/b", "5S")):
            fields = [*HEAD[:2], (":path", path), *HEAD[3:], ("grpc-timeout", timeout), ("key", "value")]
            # With the timeout in the table, as Go sends it, and so with other indexes each time.
            heads.append(decode_block(decoder, encoder.encode(fields)))
        assert twin_of(heads[0]) is None
        assert twin_of(heads[1]) is heads[0]
        assert twin_of(heads[2]) is None
        # The other path may have had its place.
        assert twin_of(heads[3]) in (None, heads[0])
        assert twin_of(heads[4]) in (heads[0], heads[3])

    def test_a_head_with_another_value_has_none(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        for value in ("1", "2"):
            block = decode_block(decoder, encoder.encode([*HEAD, ("grpc-timeout", "1S"), ("key", value)]))
            assert twin_of(block) is None
        block = decode_block(
            decoder, encoder.encode([*HEAD, ("grpc-timeout", "1S"), ("key", "2"), ("more", "1")])
        )
        assert twin_of(block) is None

    def test_a_head_without_a_timeout_has_none(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        for _ in range(4):
            assert twin_of(decode_block(decoder, encoder.encode(HEAD))) is None

    def test_a_beginning_changes_with_the_table(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        for count in range(3):
            decode_block(decoder, encoder.encode([("a", str(count))]))
            block = decode_block(decoder, b"\xbe\xbe\xbe\x00\x01t\x01t")
            assert pairs_of(block)[:3] == [(b"a", str(count).encode())] * 3

    def test_a_wrong_index_in_a_beginning_is_found(self) -> None:
        with pytest.raises(Http2ViolationError, match="index 70"):
            decode_block(HpackDecoder(), b"\x82\x86\xc6\x84\x00\x01t\x01t")

    def test_a_beginning_above_the_limit_is_too_large(self) -> None:
        decoder = HpackDecoder(list_limit=100)
        for _ in range(3):
            block = decode_block(decoder, b"\x82\x86\x84\x00\x01t\x01t")
            assert (block.is_too_large, len(block.fields)) == (True, 2)

    @pytest.mark.parametrize(
        ("added", "text"),
        [
            (b"\x00\x01t\x01t", ""),
            (b"\x0f\x17\x01b", "differs from Host"),
            (b"\x04\x01/", "is there twice"),
            (b"\x00\x01t\x01t\x08\x03200", "comes after a regular one"),
            (b"\x00\x01T\x01t", "a capital letter"),
            (b"\x08\x03200", "not of this kind of head"),
        ],
    )
    def test_rules_apply_after_a_known_prefix(self, added: bytes, text: str) -> None:
        decoder = HpackDecoder()
        head = b"\x83\x86\x84"
        # With its authority in the table.
        decode_block(decoder, b"\x41\x01a")
        for _ in range(3):
            assert broken_rule(decode_block(decoder, head + b"\xbe\x00\x01t\x01t"), "request") == 0
            rule = broken_rule(decode_block(decoder, head + b"\xbe" + added), "request")
            assert text in violation_rows()[rule][2] if text else rule == 0

    def test_large_blocks_are_not_kept(self) -> None:
        decoder = HpackDecoder(list_limit=1 << 20)
        for _ in range(3):
            decode_block(decoder, b"\x82" * 60)
        assert decoder.known_bytes == 0
        decode_block(decoder, b"\x82" * 40)
        assert decoder.known_bytes == 40 * 42

    def test_a_note_stays_with_it(self) -> None:
        decoder = HpackDecoder()
        decode_block(decoder, b"\x82\x84").note = "understood"
        assert decode_block(decoder, b"\x82\x84").note == "understood"
        assert decode_block(decoder, b"\x83\x84").note is None


class TestNotes:
    def test_a_field_of_the_table_keeps_its_note_through_blocks(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        note_of(decode_block(decoder, encoder.encode([(":path", "/a/b"), ("x", "1")])), 0, "a route")
        second = decode_block(decoder, encoder.encode([(":path", "/a/b"), ("x", "2")]))
        assert (note_of(second, 0), note_of(second, 1)) == ("a route", None)

    def test_a_field_of_the_static_table_keeps_none(self) -> None:
        block = decode_block(HpackDecoder(), b"\x84")
        assert note_of(block, 0, "a route of this connection alone") is None
        assert note_of(decode_block(HpackDecoder(), b"\x84"), 0) is None


def test_strings_of_any_size_are_decoded() -> None:
    for size in (0, 1, 126, 127, 128, 600, 639, 640, 1023, 1024, 5_000, 40_000):
        for is_huffman in (False, True):
            raw = Encoder().encode([("x" * size, "0" * size)], huffman=is_huffman)
            block = decode_block(HpackDecoder(list_limit=1 << 20), raw)
            assert pairs_of(block) == [(b"x" * size, b"0" * size)]


def test_a_malformed_field_is_no_error_of_the_connection() -> None:
    encoder, decoder = Encoder(), HpackDecoder()
    bad = decode_block(decoder, encoder.encode([("Bad", "x\r\ny"), ("good", "1")]))
    assert bad.rule
    again = decode_block(decoder, encoder.encode([("Bad", "x\r\ny"), ("good", "1")]))
    assert again.rule == bad.rule
    # A new value under a name of the table is checked like any other.
    assert decode_block(decoder, encoder.encode([("Bad", "1")])).rule
    assert decode_block(decoder, encoder.encode([("good", "2\n")])).rule
    assert decode_block(decoder, encoder.encode([("good", "1")])).rule == 0


def test_a_name_of_the_table_keeps_its_token() -> None:
    encoder, decoder = Encoder(), HpackDecoder()
    for value in ("1S", "2S", "1S"):
        block = decode_block(decoder, encoder.encode([("grpc-timeout", value)]))
        assert value_of(block, name_token(b"grpc-timeout")) == value.encode()


@pytest.mark.measures
def test_an_equal_block_takes_less_than_300_nanoseconds() -> None:
    encoder, decoder = Encoder(), HpackDecoder()
    decode_block(decoder, encoder.encode(HEAD))
    block = encoder.encode(HEAD)
    assert min(decode_again(decoder, block, 20_000) for _ in range(5)) < 300

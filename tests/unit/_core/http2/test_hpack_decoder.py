"""The HPACK decoder: the examples of RFC 7541, wrong blocks, bounds, and blocks that come again."""

import pytest
from hpack import Encoder

from fastrpc._core.http2.hpack_decoder import HpackDecoder
from fastrpc._core.http2.hpack_tables import name_token
from fastrpc._core.http2.violations import Http2ViolationError
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
    decoded = decoder.decode_block(bytes.fromhex(block))
    assert decoded.pairs == [pair]
    assert decoder.table.fields == ([pair] if is_indexed else [])
    assert [field.is_sensitive for field in decoded.fields] == [is_sensitive]


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_of_the_rfc(name: str) -> None:
    limit, blocks = SEQUENCES[name]
    decoder = HpackDecoder(table_limit=limit)
    for block, pairs, table, size in blocks:
        assert decoder.decode_block(bytes.fromhex(block)).pairs == pairs
        assert decoder.table.fields == table
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
        # Table size updates: behind a field, too large, too many.
        ("8220", "behind a field"),
        ("203f", "integer"),
        ("3fe21f", "update is 4097"),
        ("3fffffff7f", "update is"),
        ("202020", "more than 2"),
    ],
)
def test_wrong_blocks_end_the_connection(block: str, text: str) -> None:
    with pytest.raises(Http2ViolationError, match=text) as caught:
        HpackDecoder().decode_block(bytes.fromhex(block))
    assert (caught.value.code, caught.value.is_of_connection) == (COMPRESSION_ERROR, True)


@pytest.mark.parametrize("cut", range(1, 70))
def test_a_cut_block_is_refused_or_has_less(cut: int) -> None:
    whole = Encoder().encode(HEAD)
    assert cut < len(whole) or cut >= len(whole) > 50
    try:
        pairs = HpackDecoder().decode_block(whole[:cut]).pairs
    except Http2ViolationError as error:
        assert error.code == COMPRESSION_ERROR
    else:
        full = HpackDecoder().decode_block(whole).pairs
        assert pairs == full[: len(pairs)]


def test_an_empty_block_has_no_fields() -> None:
    assert HpackDecoder().decode_block(b"").pairs == []


def test_two_updates_at_the_beginning_are_taken() -> None:
    decoder = HpackDecoder()
    decoder.decode_block(Encoder().encode([("a", "b")]))
    assert decoder.table.count == 1
    # To 0, then to 4,096: the table is empty behind it.
    decoder.decode_block(bytes.fromhex("203fe11f82"))
    assert (decoder.table.count, decoder.table.capacity) == (0, 4096)


class TestAcknowledgedLimits:
    def test_a_lower_limit_needs_an_update(self) -> None:
        decoder = HpackDecoder()
        decoder.set_table_limit(100)
        with pytest.raises(Http2ViolationError, match="larger than the acknowledged 100"):
            decoder.decode_block(b"\x82")

    def test_an_update_to_the_limit_is_enough(self) -> None:
        decoder = HpackDecoder()
        decoder.set_table_limit(30)
        assert decoder.decode_block(b"\x3e\x82").pairs == [(b":method", b"GET")]
        assert decoder.decode_block(b"\x82").pairs == [(b":method", b"GET")]

    def test_a_known_block_is_no_way_around_it(self) -> None:
        decoder = HpackDecoder()
        decoder.decode_block(b"\x82")
        decoder.decode_block(b"\x82")
        decoder.set_table_limit(100)
        with pytest.raises(Http2ViolationError):
            decoder.decode_block(b"\x82")

    def test_a_table_within_the_limit_needs_none(self) -> None:
        decoder = HpackDecoder()
        decoder.decode_block(b"\x3e")
        decoder.set_table_limit(30)
        assert decoder.decode_block(b"\x82").pairs == [(b":method", b"GET")]

    def test_a_raised_limit_may_be_used(self) -> None:
        decoder = HpackDecoder()
        decoder.set_table_limit(8192)
        assert decoder.table.capacity == 4096
        decoder.decode_block(bytes.fromhex("3fe13f"))
        assert decoder.table.capacity == 8192


class TestLimitOfABlock:
    def test_a_block_at_the_limit_is_whole(self) -> None:
        decoder = HpackDecoder(list_limit=68)
        block = decoder.decode_block(bytes.fromhex("000161016200016301" + "64"))
        assert (block.size, block.is_too_large, len(block.fields)) == (68, False, 2)

    def test_fields_above_it_are_left_out_and_the_table_goes_on(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder(list_limit=100)
        block = decoder.decode_block(encoder.encode([("a", "1" * 20), ("b", "2" * 60), ("c", "3")]))
        assert block.is_too_large
        assert block.pairs == [(b"a", b"1" * 20)]
        assert decoder.table.count == 3
        following = decoder.decode_block(encoder.encode([("c", "3")]))
        assert (following.pairs, following.is_too_large) == ([(b"c", b"3")], False)

    def test_a_bomb_is_counted_and_not_built(self) -> None:
        decoder = HpackDecoder()
        decoder.decode_block(Encoder().encode([("a", "1" * 4000)], huffman=False))
        block = decoder.decode_block(b"\xbe" * 65_536)
        assert block.is_too_large
        assert block.size == 65_536 * 4033
        assert len(block.fields) == 2


class TestKnownBlocks:
    def test_an_equal_block_at_an_unchanged_table_is_the_same(self) -> None:
        encoder, decoder = Encoder(), HpackDecoder()
        first = decoder.decode_block(encoder.encode(HEAD))
        raw = encoder.encode(HEAD)
        second = decoder.decode_block(raw)
        assert second is not first
        assert second.pairs == first.pairs
        assert decoder.decode_block(bytes(bytearray(raw))) is second

    def test_heads_and_trailers_by_turns_are_known(self) -> None:
        decoder = HpackDecoder()
        blocks = [bytes([0x80 | index]) for index in range(1, 62)]
        known = 0
        for one, other in zip(blocks, blocks[1:], strict=False):
            before = [decoder.decode_block(raw) for raw in (one, other)]
            known += all(decoder.decode_block(raw) is block for raw, block in zip((one, other), before, strict=True))
        # Two blocks share a place now and then, and never mean each other.
        assert known >= 30

    def test_a_block_that_changes_the_table_is_not_kept(self) -> None:
        decoder = HpackDecoder()
        raw = Encoder().encode([("a", "b")])
        assert decoder.decode_block(raw) is not decoder.decode_block(raw)
        assert decoder.table.count == 2

    def test_a_change_of_the_table_ends_it(self) -> None:
        decoder = HpackDecoder()
        decoder.decode_block(Encoder().encode([("a", "1")]))
        first = decoder.decode_block(b"\xbe")
        decoder.decode_block(Encoder().encode([("b", "2")]))
        second = decoder.decode_block(b"\xbe")
        assert (first.pairs, second.pairs) == ([(b"a", b"1")], [(b"b", b"2")])

    def test_an_update_of_the_same_size_ends_it(self) -> None:
        decoder = HpackDecoder()
        first = decoder.decode_block(b"\x82")
        decoder.decode_block(bytes.fromhex("3fe11f"))
        assert decoder.decode_block(b"\x82") is not first

    def test_a_note_stays_with_it(self) -> None:
        decoder = HpackDecoder()
        decoder.decode_block(b"\x82\x84").note = "understood"
        assert decoder.decode_block(b"\x82\x84").note == "understood"
        assert decoder.decode_block(b"\x83\x84").note is None


def test_strings_of_any_size_are_decoded() -> None:
    for size in (0, 1, 126, 127, 128, 600, 639, 640, 1023, 1024, 5_000, 40_000):
        for is_huffman in (False, True):
            raw = Encoder().encode([("x" * size, "0" * size)], huffman=is_huffman)
            block = HpackDecoder(list_limit=1 << 20).decode_block(raw)
            assert block.pairs == [(b"x" * size, b"0" * size)]


def test_a_malformed_field_is_no_error_of_the_connection() -> None:
    encoder, decoder = Encoder(), HpackDecoder()
    bad = decoder.decode_block(encoder.encode([("Bad", "x\r\ny"), ("good", "1")]))
    assert bad.rule
    again = decoder.decode_block(encoder.encode([("Bad", "x\r\ny"), ("good", "1")]))
    assert again.rule == bad.rule
    # A new value under a name of the table is checked like any other.
    assert decoder.decode_block(encoder.encode([("Bad", "1")])).rule
    assert decoder.decode_block(encoder.encode([("good", "2\n")])).rule
    assert decoder.decode_block(encoder.encode([("good", "1")])).rule == 0


def test_a_name_of_the_table_keeps_its_token() -> None:
    encoder, decoder = Encoder(), HpackDecoder()
    for value in ("1S", "2S", "1S"):
        block = decoder.decode_block(encoder.encode([("grpc-timeout", value)]))
        assert block.value(name_token(b"grpc-timeout")) == value.encode()

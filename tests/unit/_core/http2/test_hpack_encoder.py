"""The HPACK encoder: its policy, templates, the limits of the peer, and python `hpack` as its reader."""

from random import Random

import pytest
from hpack import Decoder
from hpack.struct import NeverIndexedHeaderTuple

from fastrpc._core.http2.hpack import HeaderTemplate, HpackDecoder, HpackEncoder
from fastrpc_harness.http2_blocks import (
    decode_block,
    encode_again,
    encode_block,
    limit_encoder,
    pairs_of,
    table_fields,
)

Pair = tuple[bytes, bytes]

HEAD: list[Pair] = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/shop.v1.Orders/GetItem"),
    (b":authority", b"localhost:50051"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
]


def decoded(decoder: Decoder, block: bytes) -> list[Pair]:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


def test_blocks_are_read_by_the_reference() -> None:
    encoder, decoder = HpackEncoder(), Decoder()
    sizes = []
    for _ in range(3):
        block = encode_block(encoder, HEAD)
        assert decoded(decoder, block) == HEAD
        sizes.append(len(block))
    assert sizes[0] > 50
    assert sizes[1:] == [6, 6]


@pytest.mark.parametrize(
    ("pair", "is_indexed", "is_sensitive"),
    [
        ((b":path", b"/a/b"), True, False),
        ((b":status", b"302"), True, False),
        ((b"user-agent", b"a"), True, False),
        ((b"grpc-encoding", b"gzip"), True, False),
        ((b"grpc-status", b"0"), True, False),
        ((b"grpc-timeout", b"99976u"), True, False),
        ((b"grpc-message", b"no"), False, False),
        ((b"content-length", b"17"), False, False),
        ((b"traceparent", b"00-1-2-01"), True, False),
        ((b"x-tenant", b"acme"), False, False),
        ((b"authorization", b"bearer t"), False, True),
        ((b"cookie", b"a=b"), False, True),
        ((b"x-key-bin", b"AAAA"), False, True),
        ((b"grpc-status-details-bin", b"AAAA"), False, True),
    ],
)
def test_fields_are_indexed_by_their_names(pair: Pair, is_indexed: bool, is_sensitive: bool) -> None:
    encoder, decoder = HpackEncoder(), Decoder()
    for _ in range(2):
        (field,) = decoder.decode(encode_block(encoder, [pair]), raw=True)
        assert tuple(field) == pair
        assert isinstance(field, NeverIndexedHeaderTuple) == is_sensitive
        assert table_fields(encoder.table) == ([pair] if is_indexed else [])


def test_fields_of_the_static_table_take_a_byte() -> None:
    encoder = HpackEncoder()
    for pair in ((b":method", b"GET"), (b":method", b"POST"), (b":status", b"200"), (b":scheme", b"https")):
        assert len(encode_block(encoder, [pair])) == 1
    assert encoder.table.count == 0


def test_a_field_that_would_fill_the_table_is_sent_in_full() -> None:
    encoder, decoder = HpackEncoder(), Decoder()
    encode_block(encoder, HEAD)
    count = encoder.table.count
    long = (b":path", b"/" + b"a" * 2_100)
    assert decoded(Decoder(), encode_block(HpackEncoder(), [long])) == [long]
    encode_block(encoder, [long])
    assert encoder.table.count == count
    assert decoded(decoder, encode_block(HpackEncoder(), HEAD)) == HEAD


class TestTemplates:
    def test_a_template_gives_the_fields_each_time(self) -> None:
        encoder, decoder, template = HpackEncoder(), Decoder(), HeaderTemplate(HEAD)
        sizes = []
        for count in range(5):
            timeout = (b"grpc-timeout", b"%du" % count)
            block = encode_block(encoder, [timeout], template)
            assert decoded(decoder, block) == [*HEAD, timeout]
            sizes.append(len(block))
        assert len(set(sizes[1:])) == 1

    def test_a_changed_table_changes_its_block(self) -> None:
        encoder, decoder, template = HpackEncoder(), Decoder(), HeaderTemplate(HEAD)
        for count in range(300):
            pairs = [(b"user-agent", b"agent-%d" % count)] if count % 3 == 2 else []
            assert decoded(decoder, encode_block(encoder, pairs, template)) == HEAD + pairs

    def test_a_new_limit_changes_its_block(self) -> None:
        encoder, decoder, template = HpackEncoder(), Decoder(), HeaderTemplate(HEAD)
        for limit in (4096, 4096, 0, 0, 100, 4096, 4096):
            limit_encoder(encoder, limit)
            assert decoded(decoder, encode_block(encoder, [], template)) == HEAD

    def test_encoders_may_share_one(self) -> None:
        template, pairs = HeaderTemplate(HEAD), [(HpackEncoder(), Decoder()) for _ in range(3)]
        encode_block(pairs[0][0], [(b"user-agent", b"another")])
        assert pairs[0][1].decode(encode_block(pairs[0][0], []), raw=True) == []
        pairs[0] = (HpackEncoder(), Decoder())
        for _ in range(4):
            for encoder, decoder in pairs:
                assert decoded(decoder, encode_block(encoder, [], template)) == HEAD

    def test_an_empty_template_adds_nothing(self) -> None:
        encoder, template = HpackEncoder(), HeaderTemplate([])
        assert [encode_block(encoder, [], template) for _ in range(2)] == [b"", b""]


class TestLimitsOfThePeer:
    @pytest.mark.parametrize(
        ("limits", "start"),
        [
            ((4096,), ""),
            ((8192,), ""),
            ((0,), "20"),
            ((30,), "3e"),
            ((4096, 0, 4096), "203fe11f"),
            ((100, 0, 50, 200), "203fa901"),
            ((100, 200), "3f453fa901"),
            ((200, 100), "3f45"),
            ((0, 0), "20"),
        ],
    )
    def test_the_next_block_begins_with_updates(self, limits: tuple[int, ...], start: str) -> None:
        encoder = HpackEncoder()
        for limit in limits:
            limit_encoder(encoder, limit)
        assert encode_block(encoder, [(b":method", b"GET")]).hex() == start + "82"
        assert encode_block(encoder, [(b":method", b"GET")]).hex() == "82"

    def test_at_most_4096_bytes_are_used(self) -> None:
        encoder = HpackEncoder()
        limit_encoder(encoder, 1 << 30)
        assert encoder.table.capacity == 4096

    def test_a_table_of_nothing_is_not_used(self) -> None:
        encoder, decoder = HpackEncoder(), Decoder()
        limit_encoder(encoder, 0)
        for _ in range(3):
            assert decoded(decoder, encode_block(encoder, HEAD)) == HEAD
        assert encoder.table.count == 0


def test_strings_of_any_size_are_read() -> None:
    random = Random(1)
    for size in (0, 1, 126, 127, 128, 254, 255, 256, 5_000):
        for value in (b"0" * size, random.randbytes(size), b"~" * size):
            pairs = [(b"x" * max(size, 1), value), (b"user-agent", value)]
            assert decoded(Decoder(), encode_block(HpackEncoder(), pairs)) == pairs
            assert (
                pairs_of(decode_block(HpackDecoder(list_limit=1 << 20), encode_block(HpackEncoder(), pairs)))
                == pairs
            )


@pytest.mark.measures
def test_a_template_and_a_timeout_take_less_than_300_nanoseconds() -> None:
    encoder, template = HpackEncoder(), HeaderTemplate(HEAD)
    assert min(encode_again(encoder, template, b"99976u", 20_000) for _ in range(5)) < 300

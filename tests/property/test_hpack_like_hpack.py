"""Header blocks that python `hpack` writes and reads: both sides find the same fields and keep the same tables."""

from random import Random

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple

from fastrpc._core.http2.hpack import HeaderTemplate, HpackDecoder, HpackEncoder
from fastrpc_harness.http2_blocks import (
    Http2ViolationError,
    decode_block,
    encode_block,
    limit_encoder,
    pairs_of,
    table_fields,
)
from tests.conftest import Scale

Pair = tuple[bytes, bytes]

BLOCKS_OF_A_CONNECTION = 50
LIST_LIMIT = 1 << 20

NAMES = [
    *(
        b":method",
        b":path",
        b":authority",
        b":status",
        b"content-type",
        b"user-agent",
        b"te",
        b"authorization",
    ),
    *(
        b"grpc-timeout",
        b"grpc-status",
        b"grpc-message",
        b"x-tenant",
        b"x-trace-bin",
        b"cookie",
        b"a",
        b"accept-encoding",
    ),
]
VALUES = [
    b"",
    b"POST",
    b"/",
    b"/shop.v1.Orders/GetItem",
    b"200",
    b"application/grpc",
    b"trailers",
    b"gzip, deflate",
]
LIMITS = (0, 31, 32, 64, 100, 300, 1000, 4095, 4096)

#: Rules that the reference has not: it takes any number of updates, and integers of any length.
STRICTER = ("a header block has more than 2 table size updates", "an integer of a header block")


def generated_pair(random: Random) -> Pair:
    name = random.choice(NAMES) if random.random() < 0.8 else b"x-" + random.randbytes(3).hex().encode()
    if random.random() < 0.6:
        return name, random.choice(VALUES)
    value = random.randbytes(random.choice((2, 20, 200)))
    return name, value.hex().encode() if random.random() < 0.5 else value


def generated_block(random: Random) -> list[Pair]:
    return [generated_pair(random) for _ in range(random.randrange(12))]


def same_table(table: list[Pair], reference: object) -> bool:
    return table == [(bytes(name), bytes(value)) for name, value in reference]  # type: ignore[attr-defined]


def written_by_reference(random: Random, encoder: Encoder) -> tuple[list[Pair], bytes]:
    """Return fields and their block, after a change of the table's size now and then."""
    if random.random() < 0.1:
        for _ in range(random.randrange(1, 3)):
            # A change to the same size makes the reference forget the one before it.
            encoder.header_table_size = random.choice(
                [limit for limit in LIMITS if limit != encoder.header_table_size]
            )
    pairs = generated_block(random)
    fields = [(NeverIndexedHeaderTuple if random.random() < 0.2 else HeaderTuple)(*pair) for pair in pairs]
    return pairs, encoder.encode(fields, huffman=random.random() < 0.7)


def connections(scale: Scale, blocks: int) -> range:
    return scale.seeds(blocks // BLOCKS_OF_A_CONNECTION)


def test_blocks_of_the_reference_are_decoded(scale: Scale) -> None:
    for seed in connections(scale, 20_000):
        random, encoder, decoder = Random(seed), Encoder(), HpackDecoder(list_limit=LIST_LIMIT)
        for _ in range(BLOCKS_OF_A_CONNECTION):
            pairs, raw = written_by_reference(random, encoder)
            block = decode_block(decoder, raw)
            assert pairs_of(block) == pairs
            assert block.size == sum(len(name) + len(value) + 32 for name, value in pairs)
            assert same_table(table_fields(decoder.table), encoder.header_table.dynamic_entries)
            if random.random() < 0.3:
                # Most of its fields by index, and then all: the same block.
                for _ in range(3):
                    again = decode_block(decoder, encoder.encode(pairs))
                    assert pairs_of(again) == pairs
                    assert same_table(table_fields(decoder.table), encoder.header_table.dynamic_entries)


def test_blocks_for_the_reference_are_encoded(scale: Scale) -> None:
    for seed in connections(scale, 20_000):
        random, encoder = Random(seed), HpackEncoder()
        reference, own = Decoder(max_header_list_size=LIST_LIMIT), HpackDecoder(list_limit=LIST_LIMIT)
        head = generated_block(random)
        template = HeaderTemplate(head)
        for _ in range(BLOCKS_OF_A_CONNECTION):
            if random.random() < 0.1:
                for _ in range(random.randrange(1, 4)):
                    limit_encoder(encoder, random.choice((*LIMITS, 10_000)))
            pairs = generated_block(random)
            raw = encode_block(encoder, pairs, template)
            decoded = [(bytes(name), bytes(value)) for name, value in reference.decode(raw, raw=True)]
            assert decoded == head + pairs
            assert pairs_of(decode_block(own, raw)) == head + pairs
            assert same_table(table_fields(encoder.table), reference.header_table.dynamic_entries)
            assert table_fields(encoder.table) == table_fields(own.table)


def read_by_reference(decoder: Decoder, raw: bytes) -> list[Pair] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(raw, raw=True)]
    except HPACKError:
        return None


def test_mutated_blocks_are_decoded_or_refused_as_by_the_reference(scale: Scale) -> None:
    for seed in scale.seeds(20_000):
        random, encoder = Random(seed), Encoder()
        own, reference = HpackDecoder(list_limit=LIST_LIMIT), Decoder(max_header_list_size=LIST_LIMIT)
        for _ in range(3):
            _, raw = written_by_reference(random, encoder)
            if random.random() < 0.5 and raw:
                mutated = bytearray(raw)
                for _ in range(random.randrange(1, 4)):
                    mutated[random.randrange(len(mutated))] = random.randrange(256)
                raw = bytes(mutated[: random.randrange(len(mutated) + 1)])
            expected = read_by_reference(reference, raw)
            if expected is None:
                with pytest.raises(Http2ViolationError):
                    decode_block(own, raw)
                break
            try:
                found = pairs_of(decode_block(own, raw))
            except Http2ViolationError as error:
                if not str(error).startswith(STRICTER):
                    raise
                break
            assert found == expected, raw.hex()
            assert same_table(table_fields(own.table), reference.header_table.dynamic_entries)

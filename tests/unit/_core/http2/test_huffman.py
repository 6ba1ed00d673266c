"""The Huffman code of HPACK: every symbol, every wrong end, its tables, and python `hpack` as the oracle."""

import runpy
from random import Random

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman as reference_decode

from fastrpc_harness.http2_blocks import decode_huffman, encode_huffman
from tests.conftest import Scale
from tests.support.source_tree import PACKAGE, ROOT

EOS = 256
TEXT = b"0123456789abcdefghijklmnopqrstuvwxyz-./ABCXYZ"


def code_of(symbol: int) -> str:
    return f"{REQUEST_CODES[symbol]:0{REQUEST_CODES_LENGTH[symbol]}b}"


def packed(bits: str) -> bytes:
    assert len(bits) % 8 == 0
    return int(bits or "0", 2).to_bytes(len(bits) // 8, "big")


def padded(bits: str) -> bytes:
    return packed(bits + "1" * (-len(bits) % 8))


def decoded_by_reference(code: bytes) -> bytes | None:
    try:
        return bytes(reference_decode(code))
    except HPACKDecodingError:
        return None


def test_the_tables_are_as_their_script_writes_them() -> None:
    tables = runpy.run_path(str(ROOT / "ci" / "huffman_tables.py"))
    text = (PACKAGE / "_core" / "http2" / "huffman_tables.h").read_text(encoding="utf-8")
    assert tables["header"]() == text
    assert [code for _, _, code in sorted(tables["codes"](), key=lambda each: each[1])] == REQUEST_CODES


@pytest.mark.parametrize("before", [b"", b"0", b"z<", b"\x00\xff"], ids=repr)
def test_each_symbol_has_its_code(before: bytes) -> None:
    for symbol in range(EOS):
        data = before + bytes([symbol])
        code = padded("".join(map(code_of, data)))
        assert encode_huffman(data) == code
        assert decode_huffman(code) == data
        assert decode_huffman(encode_huffman(data * 9)) == data * 9


def test_pairs_of_symbols_are_decoded() -> None:
    for first in range(EOS):
        data = b"".join(bytes([first, second]) for second in range(EOS))
        assert decode_huffman(encode_huffman(data)) == data


@pytest.mark.parametrize(
    ("bits", "decoded"),
    [
        ("", b""),
        (code_of(ord("0")) + "111", b"0"),
        (code_of(ord(":")) + "1", b":"),
        (code_of(ord("&")), b"&"),
        # Padding that is no prefix of EOS.
        (code_of(ord("0")) + "000", None),
        (code_of(ord("0")) + "110", None),
        (code_of(ord(":")) + "0", None),
        # Padding of more than 7 bits.
        ("1" * 8, None),
        ("1" * 16, None),
        ("1" * 24, None),
        (code_of(ord("&")) + "1" * 8, None),
        (code_of(ord("0")) + "1" * 11, None),
        (code_of(ord("0")) * 16 + "1" * 8, None),
        # EOS.
        (code_of(EOS) + "11", None),
        (code_of(EOS) * 4, None),
        (code_of(ord("0")) * 2 + code_of(EOS) + code_of(ord("&")) * 9, None),
        ("1" * 128, None),
        # A code that is cut.
        (code_of(0x01)[:16], None),
        (code_of(ord("\\"))[:16], None),
        (code_of(ord("0")) * 16 + code_of(0xFF)[:24], None),
    ],
)
def test_wrong_ends_are_found(bits: str, decoded: bytes | None) -> None:
    assert decode_huffman(packed(bits)) == decoded
    assert decoded_by_reference(packed(bits)) == decoded


def test_texts_are_coded_as_by_the_reference(scale: Scale) -> None:
    reference = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)
    for seed in scale.seeds(20_000):
        random = Random(seed)
        size = random.choice((8, 40, 300))
        data = bytes(
            random.choice(TEXT) if random.random() < 0.8 else random.randrange(256)
            for _ in range(random.randrange(size))
        )
        code = reference.encode(data)
        assert encode_huffman(data) == code
        assert decode_huffman(code) == data


def test_any_bytes_are_decoded_or_refused_as_by_the_reference(scale: Scale) -> None:
    for seed in scale.seeds(20_000):
        random = Random(seed)
        text = encode_huffman(bytes(random.choice(TEXT) for _ in range(random.randrange(20))))
        code = text[: random.randrange(20)] + random.randbytes(random.randrange(8))
        assert decode_huffman(code) == decoded_by_reference(code)

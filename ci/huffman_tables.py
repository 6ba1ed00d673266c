"""Writes `_core/http2/huffman_tables.h`: the Huffman code of HPACK as tables of C.

The code of RFC 7541, Appendix B is canonical: symbols of equal length have consecutive codes in their order, and
shorter codes come first. So its 257 lengths determine it.
"""

from pathlib import Path

__all__ = ["LENGTHS", "TABLES", "codes", "header"]

TABLES = Path(__file__).parents[1] / "src" / "fastrpc" / "_core" / "http2" / "huffman_tables.h"

#: The bits of each symbol's code; the last symbol is EOS.
LENGTHS = [
    *(13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28),
    *(28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28),
    *(6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6),
    *(5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10),
    *(13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7),
    *(7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6),
    *(15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5),
    *(6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28),
    *(20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23),
    *(24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24),
    *(22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23),
    *(21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23),
    *(26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25),
    *(19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27),
    *(20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23),
    *(26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26),
    30,
]

#: Bits that the first lookup of the decoder takes: two symbols of 5 and 6 bits fit, and the table 8 KiB.
LOOKUP_BITS = 11
LONGEST = 30
LINE = 118


def codes() -> list[tuple[int, int, int]]:
    """Return length, symbol and code of each symbol, in the order of the codes."""
    found, code, bits = [], 0, 0
    for length, symbol in sorted((length, symbol) for symbol, length in enumerate(LENGTHS)):
        code <<= length - bits
        bits = length
        found.append((length, symbol, code))
        code += 1
    return found


def lookup() -> list[int]:
    """Return the symbols that each first bits hold: symbol, next symbol << 8, bits << 16, bits of both << 24.

    If only one symbol is left both counts are equal; 0 means a longer code.
    """
    first = [(0, 0)] * (1 << LOOKUP_BITS)
    for length, symbol, code in codes():
        if length <= LOOKUP_BITS:
            spare = LOOKUP_BITS - length
            for rest in range(1 << spare):
                first[code << spare | rest] = (symbol, length)
    entries = []
    for bits, (symbol, length) in enumerate(first):
        following, more = first[(bits << length) & ((1 << LOOKUP_BITS) - 1)]
        if length == 0 or more == 0 or length + more > LOOKUP_BITS:
            following, more = 0, 0
        entries.append(symbol | following << 8 | length << 16 | (length + more) << 24)
    return entries


def longer() -> tuple[list[int], list[int]]:
    """Return, by length, the end of its codes as 32 bits, and the offset from a code to its place in the order."""
    ends, offsets, end = [0] * (LONGEST + 1), [0] * (LONGEST + 1), 0
    for length in range(1, LONGEST + 1):
        same = [(code, place) for place, (bits, _, code) in enumerate(codes()) if bits == length]
        if same:
            # EOS ends at 2 ** 32, which 32 bits cannot hold: no code follows it.
            end = min(((same[-1][0] + 1) << (32 - length)), 0xFFFFFFFF)
            offsets[length] = same[0][1] - same[0][0]
        ends[length] = end
    return ends, offsets


def array(kind: str, name: str, values: list[int], form: str = "{}") -> str:
    """Return an array of C."""
    lines, line = [], "   "
    for value in values:
        text = " " + form.format(value) + ","
        if len(line) + len(text) > LINE:
            lines.append(line)
            line = "   "
        line += text
    body = "\n".join([*lines, line])
    return f"static const {kind} {name}[{len(values)}] = {{\n{body}\n}};\n"


def header() -> str:
    """Return the text of the file."""
    order = codes()
    by_symbol = [code for _, code in sorted((symbol, code) for _, symbol, code in order)]
    ends, offsets = longer()
    return "\n".join(
        [
            "/* The Huffman code of HPACK (RFC 7541, Appendix B), written by ci/huffman_tables.py. */",
            "#ifndef FASTRPC_HUFFMAN_TABLES_H",
            "#define FASTRPC_HUFFMAN_TABLES_H\n",
            "#include <stdint.h>\n",
            f"#define FRPC_HUFFMAN_LOOKUP_BITS {LOOKUP_BITS}\n",
            "/* By symbol: its code, and the number of its bits. */",
            array("uint32_t", "frpc_huffman_codes", by_symbol, "0x{:x}"),
            array("uint8_t", "frpc_huffman_lengths", LENGTHS),
            "/* By the next bits: a symbol, the second symbol << 8, the bits of the first << 16, of both << 24. */",
            array("uint32_t", "frpc_huffman_lookup", lookup(), "0x{:x}"),
            "/* By length: the end of the codes up to it, in the highest of 32 bits; from a code to its place. */",
            array("uint32_t", "frpc_huffman_ends", ends, "0x{:x}u"),
            array("int32_t", "frpc_huffman_offsets", offsets),
            "/* The symbols in the order of their codes. */",
            array("uint16_t", "frpc_huffman_symbols", [symbol for _, symbol, _ in order]),
            "#endif\n",
        ]
    )


if __name__ == "__main__":
    TABLES.write_text(header(), encoding="utf-8")

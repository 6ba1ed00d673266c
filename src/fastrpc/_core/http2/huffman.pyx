"""The Huffman code of HPACK (RFC 7541, section 5.2).

The decoder takes 11 bits at a time from a word of 64: they hold one symbol or two short ones. Longer codes are rare; the
code is canonical, so comparing with the end of each length finds them. A state machine by nibbles has tables of twice the
size, and two dependent lookups for each byte.
"""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from fastrpc._core.http2.big_endian cimport load64_big

cdef extern from "http2/huffman_tables.h" nogil:
    const int LOOKUP_BITS "FRPC_HUFFMAN_LOOKUP_BITS"
    const uint32_t[257] codes "frpc_huffman_codes"
    const uint8_t[257] lengths "frpc_huffman_lengths"
    const uint32_t[2048] lookup "frpc_huffman_lookup"
    const uint32_t[31] ends "frpc_huffman_ends"
    const int32_t[31] offsets "frpc_huffman_offsets"
    const uint16_t[257] symbols "frpc_huffman_symbols"

cdef enum:
    EOS = 256
    LONGEST = 30


cdef Py_ssize_t huffman_size(const char* data, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t at, bits = 0
    for at in range(size):
        bits += lengths[<uint8_t>data[at]]
    return (bits + 7) >> 3


cdef char* huffman_encode(const char* data, Py_ssize_t size, char* out) noexcept nogil:
    cdef uint64_t word = 0
    cdef int filled = 0, length
    cdef Py_ssize_t at
    for at in range(size):
        length = lengths[<uint8_t>data[at]]
        word = word << length | codes[<uint8_t>data[at]]
        filled += length
        # Less than 8 bits stay, and no code is longer than 30: the word never overflows.
        while filled >= 8:
            filled -= 8
            out[0] = <char>(word >> filled)
            out += 1
    if filled:
        out[0] = <char>(word << (8 - filled) | 0xFF >> filled)
        out += 1
    return out


cdef Py_ssize_t huffman_decode(const char* data, Py_ssize_t size, char* out) noexcept nogil:
    # The next bits, highest first; how many of them are of the code, the rest is not defined.
    cdef uint64_t word = 0
    cdef int filled = 0, length
    cdef uint32_t entry
    cdef Py_ssize_t at = 0, decoded = 0
    while True:
        if size - at >= 8:
            # Whole bytes only: bits above `filled` are read again with the next ones, and are the same then.
            word |= load64_big(data + at) >> filled
            at += (63 - filled) >> 3
            filled |= 56
        else:
            while filled <= 56 and at < size:
                word |= <uint64_t><uint8_t>data[at] << (56 - filled)
                filled += 8
                at += 1
        if filled < LONGEST and at == size:
            return _decode_end(word, filled, decoded, out)
        entry = lookup[word >> (64 - LOOKUP_BITS)]
        if entry:
            # The second symbol may be none: it is overwritten then.
            out[decoded] = <char>entry
            out[decoded + 1] = <char>(entry >> 8)
            length = entry >> 24
            decoded += 1 + (length != <int>(entry >> 16 & 0xFF))
        else:
            length = long_length(word)
            if length == LONGEST and long_symbol(word, length) == EOS:
                return -1
            out[decoded] = <char>long_symbol(word, length)
            decoded += 1
        word <<= length
        filled -= length


cdef Py_ssize_t _decode_end(uint64_t word, int filled, Py_ssize_t decoded, char* out) noexcept nogil:
    """Decode the last bits, fewer than the longest code has, one symbol at a time."""
    cdef uint32_t entry
    cdef int length, symbol
    while filled:
        # Ones behind the end: what is left there is part of a code, or padding.
        word |= ~<uint64_t>0 >> filled
        entry = lookup[word >> (64 - LOOKUP_BITS)]
        if entry:
            length, symbol = entry >> 16 & 0xFF, entry & 0xFF
        else:
            length = long_length(word)
            symbol = long_symbol(word, length)
        if length > filled:
            return decoded if filled < 8 and word == ~<uint64_t>0 else -1
        out[decoded] = <char>symbol
        decoded += 1
        word <<= length
        filled -= length
    return decoded


cdef inline int long_length(uint64_t word) noexcept nogil:
    """Return the bits of the code that the word begins with, which is longer than the first lookup."""
    cdef uint32_t top = <uint32_t>(word >> 32)
    cdef int length = LOOKUP_BITS + 1
    while length < LONGEST and top >= ends[length]:
        length += 1
    return length


cdef inline int long_symbol(uint64_t word, int length) noexcept nogil:
    return symbols[<int32_t>(word >> (64 - length)) + offsets[length]]

"""The Huffman code of HPACK."""

# Return the bytes that the code of these bytes takes.
cdef Py_ssize_t huffman_size(const char* data, Py_ssize_t size) noexcept nogil

# Write the code of these bytes to `out`, which has room for `huffman_size`; return the end.
cdef char* huffman_encode(const char* data, Py_ssize_t size, char* out) noexcept nogil

# Write the bytes that a code stands for to `out`, which has room for `most_decoded(size)`; return how many they are.
# -1: the code has EOS in it, or padding that is longer than 7 bits or no prefix of EOS.
cdef Py_ssize_t huffman_decode(const char* data, Py_ssize_t size, char* out) noexcept nogil


cdef inline Py_ssize_t most_decoded(Py_ssize_t size) noexcept nogil:
    """Return the most bytes that a code of `size` bytes is decoded into, 5 bits each, and one that is written ahead."""
    return size * 8 // 5 + 2

from libc.stdint cimport uint32_t

# Goes on with the two sums, for a multiple of 8 bytes.
cdef void add_words(const char* words, Py_ssize_t size, bint is_big, uint32_t* first, uint32_t* second) noexcept nogil

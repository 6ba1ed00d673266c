from libc.stdint cimport uint32_t

# Add bytes, a multiple of 8, to the checksum in the two words, and store the new checksum there.
cdef void add_words(const char* words, Py_ssize_t size, bint is_big, uint32_t* first, uint32_t* second) noexcept nogil

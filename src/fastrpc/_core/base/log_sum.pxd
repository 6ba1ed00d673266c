from libc.stdint cimport uint32_t

# Add a multiple of 8 bytes to a checksum: the two words are its value before and after.
cdef void add_words(const char* words, Py_ssize_t size, bint is_big, uint32_t* first, uint32_t* second) noexcept nogil

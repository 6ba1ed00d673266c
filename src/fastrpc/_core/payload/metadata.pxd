cdef enum MetadataVerdict:
    METADATA_OK = 0
    METADATA_MALFORMED = 1
    METADATA_TOO_LARGE = 2
    METADATA_BAD_KEY = 3
    METADATA_BAD_TEXT = 4

cdef int check_metadata(const char* data, Py_ssize_t size, Py_ssize_t limit) noexcept nogil
cpdef bytes encode_metadata(object entries)
cpdef dict decode_metadata(bytes data)
cdef bint has_any_key(bytes data, frozenset keys) except -1

from libc.string cimport memcmp

cdef enum MetadataVerdict:
    METADATA_OK = 0
    METADATA_MALFORMED = 1
    METADATA_TOO_LARGE = 2
    METADATA_BAD_KEY = 3
    METADATA_BAD_TEXT = 4

cdef int check_metadata(const char* data, Py_ssize_t size, Py_ssize_t limit) noexcept nogil

# Return whether metadata is over a limit. Its form was checked where it was made, and gRPC allows repeated keys.
cdef bint is_too_large(bytes metadata, Py_ssize_t limit) noexcept
cpdef bytes encode_metadata(object entries)
cpdef dict decode_metadata(bytes data)

# Return an entry. Return the keys and values of entries in their order; the entries were checked when they arrived.
cdef bytes entry_of(bytes key, bytes value)
cdef list entries_of(bytes data)

# Return the metadata of an answer without a stream, for a protocol with head and trailers; either may be None.
cdef bytes join_answer(bytes head, bytes trailers)
cdef bint has_any_key(bytes data, frozenset keys) except -1

# Return whether a lower-case key from rpcx or Phobos is also a valid metadata key.
cdef bint has_form(bytes key) except -1

# Count omitted entries, and log the first one unless `is_told`: that was logged before.
cdef int note_dropped(list dropped, str protocol, object logger, bint is_told) except -1

# Return the beginning of a key for an error text.
cdef str shown_key(bytes key)


cdef inline bint is_binary(const char* key, Py_ssize_t size) noexcept nogil:
    """Return whether a key's value is bytes, not text."""
    return size >= 4 and memcmp(key + size - 4, b"-bin", 4) == 0

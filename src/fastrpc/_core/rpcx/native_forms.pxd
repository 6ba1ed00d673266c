"""The native forms of rpcx: the metadata of a call, and the frames of the connection above a translation."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t


cdef struct Reserved:
    # Entries of a block for the protocol itself: the token or NULL, and the milliseconds left.
    const char* token
    Py_ssize_t token_size
    bint has_timeout
    int64_t timeout_ms
    # The number of the other entries.
    Py_ssize_t others


# Check the block of a request, and find the reserved entries; `__ServerTimeout` is one where deadlines are stated.
cdef int find_reserved(const char* block, Py_ssize_t size, bint states_deadlines, Reserved* found) except -1

# Return the entries of a request in the native form; ValueError for a value that has none. The keys that have none come into
# `dropped`.
cdef bytes native_entries(const char* block, Py_ssize_t size, bint states_deadlines, list dropped)

# The same for an answer; the entries of errors come into `told`.
cdef bytes native_answer(const char* block, Py_ssize_t size, bytes error_key, dict told, list dropped)

# Return native entries as a block.
cdef bytes block_of(bytes entries)

# Return one entry of a block.
cdef bytes entry(bytes key, bytes value)

# Return the milliseconds after which to retry, all ones: not at all, 0: nothing was said.
cdef uint32_t pause_of(object text) except? 0xFFFFFFFE

# Take the credential of a call out of a block; return it, else the given one, and the rest of the block.
cdef tuple without_token(bytes block, bytes token)

cdef enum:
    RESPONSE_HEAD = 16
    # The same in words of eight bytes, as the head says itself.
    HEAD_WORDS = 2

# Write the header of a native frame with so many bytes behind it.
cdef void put_header(char* at, uint8_t kind, uint8_t flags, int codec, int compressor, uint64_t id, uint32_t size) noexcept

# Return a native frame; `codecs` holds the codec, and above it the compressor.
cdef bytes frame_of(uint8_t kind, uint8_t flags, int codecs, uint64_t id, bytes head, const char* payload, Py_ssize_t size)

# Return the head of a RESPONSE, up to its payload.
cdef bytes answer_head(int status, str text, bytes metadata, bint has_run, uint32_t pause_ms)

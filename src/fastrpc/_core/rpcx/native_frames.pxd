"""Native frames that are made here, not received: those of the connection above a translation."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

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

from libc.stdint cimport int64_t, uint32_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack_encoder cimport HpackEncoder

cdef enum:
    # The longest time that grpc-timeout is taken for, in nanoseconds, 31 years: deadlines stay within 64 bits.
    LONGEST_TIMEOUT = 1_000_000_000_000_000_000

# Return the nanoseconds of grpc-timeout; -1: it is malformed.
cpdef int64_t timeout_ns(bytes value) noexcept

# Return grpc-timeout for the nanoseconds left, rounded down, at least 1n.
cpdef bytes timeout_field(int64_t left_ns)

# Return grpc-message for a text, and back; a broken encoding is kept as it is.
cpdef bytes message_field(str text)
cpdef str message_text(bytes value)

# Return the value of a field whose name ends in `-bin`, without padding; back, padded or not, None for no base64.
cpdef bytes binary_field(bytes value)
cpdef bytes binary_value(bytes field)

# Return a number of at most so many digits; -1: it is another text.
cdef int number_of(bytes value, Py_ssize_t digits) noexcept

# Return the Status of grpc-status, UNKNOWN for another text.
cpdef int status_of(bytes value) noexcept

# Return the Status of an answer without grpc-status, by :status, and of a stream that ended by RST_STREAM.
cpdef int status_of_http(bytes value) noexcept
cpdef int status_of_reset(uint32_t code) noexcept

# Return the entries of a head or of trailers as native metadata, None without one. Names of entries that are left out, as
# they have no native form, are added to `dropped`.
cpdef bytes metadata_of(HeaderBlock block, list dropped)

# Return how much native metadata adds to a header block, as MAX_HEADER_LIST_SIZE counts it. ValueError: an entry cannot
# travel as a field. Trailers may have `grpc-status-details-bin`, as grpcio-status sets it.
cpdef Py_ssize_t metadata_size(bytes metadata, bint is_of_answer=*) except -1

# Return native metadata as fields: token, name, value; write it as such. `metadata_size` took it.
cdef list metadata_fields(bytes metadata)
cdef int put_metadata(HpackEncoder encoder, WriteBuffer out, bytes metadata) except -1

"""The body of a request: as many bytes as its head says, or chunks."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits

cdef enum:
    # Bytes that a client may send ahead while its request is answered; beyond them reading pauses.
    AHEAD_BYTES = 65_536


cdef enum BodyState:
    BODY_BYTES = 0
    # For chunks: the line before a chunk, its bytes, the CRLF after it, the lines after the last chunk.
    BODY_SIZE = 1
    BODY_CHUNK = 2
    BODY_CHUNK_END = 3
    BODY_TRAILERS = 4
    BODY_WHOLE = 5


@cython.final
cdef class BodyReader:
    cdef:
        readonly int state

        # Bytes left of the body, or of the chunk.
        int64_t left

        # The received bytes that were not taken out, and their limit; the bytes of content so far.
        bytearray content
        int64_t limit
        int64_t total

        # Trailers so far: their number and bytes, within the limits of a head.
        RequestLimits limits
        Py_ssize_t trailers
        Py_ssize_t trailer_bytes

    # Take the bytes of the body; return their number. The rest is presented again.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1

    # Take out the bytes received.
    cdef bytes taken_content(self)


cdef bint leaves_body(RequestHead head, BodyReader body, bint asks_later) noexcept

"""The body of a request: bytes of a stated length, or chunks."""

cimport cython
from libc.stdint cimport int64_t

from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits

cdef enum:
    # The bytes that a client may send ahead while its request is answered. Reading pauses at more.
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

        # The bytes of the body, or of the chunk, that are still missing.
        int64_t left

        # `content`: the content that was received and not taken out; `limit`: the limit of its size; `total`: the size
        # of all content so far.
        bytearray content
        int64_t limit
        int64_t total

        # `limits`: the limits of a head, which also apply to trailers. `trailers`, `trailer_bytes`: the number of
        # trailers so far, and their bytes.
        RequestLimits limits
        Py_ssize_t trailers
        Py_ssize_t trailer_bytes

    # Parse the bytes of the body; return the number of parsed bytes. The caller presents the rest again.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1

    # Return the content that was received since the last call, and clear it.
    cdef bytes taken_content(self)


cdef bint leaves_body(RequestHead head, BodyReader body, bint asks_later) noexcept

cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.buffer cimport Assembly, WriteBuffer
from fastrpc._core.http2.control cimport Http2Control
from fastrpc._core.http2.frames cimport Http2Frame, Http2Parser
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.hpack_decoder cimport HpackDecoder
from fastrpc._core.http2.stream_table cimport Http2Stream, StreamTable
from fastrpc._core.http2.violations cimport Violation
from fastrpc._core.http2.windows cimport FlowControl

cdef enum BlockKind:
    # An interim head (1xx), the head of a message, trailers.
    BLOCK_INTERIM = 0
    BLOCK_HEAD = 1
    BLOCK_TRAILERS = 2


@cython.final
cdef class Http2Incoming:
    cdef:
        # The parts of the connection that receiving needs, and where its credit is written.
        Http2Parser parser
        HpackDecoder decoder
        StreamTable streams
        FlowControl flow
        Http2Control control
        WriteBuffer out

        # When an incomplete frame or header block began (0: none has), and how many of its bytes came, those consumed among
        # them.
        uint64_t began_ns
        Py_ssize_t came
        Py_ssize_t consumed

        # The stream whose DATA frame is received, None: it is over or was refused; the place of its long message.
        Http2Stream data_stream
        Assembly sink

    # Consume the next frame, or part of one, as `Http2Parser.parse`; note what is incomplete.
    cdef Py_ssize_t parse(self, const char* data, Py_ssize_t size, Http2Frame* frame, uint64_t now) except? -1
    cdef int note_rest(self, Py_ssize_t rest, uint64_t now) noexcept

    # Take a head or trailers: return its BlockKind, -1: it breaks a rule of the stream.
    cdef int take_block(self, Http2Stream stream, HeaderBlock block, bint ends_stream, Violation* violation) except -2

    # Take DATA from the windows by the head of its frame, and find its stream. -1: a violation.
    cdef int begin_data(self, Http2Frame* frame, uint64_t now, Violation* violation) except -2

    # Return the place of the next bytes of a long frame in an assembly; count bytes that were received there, return
    # whether they end the stream.
    cdef char* place_in(self, Assembly sink, Py_ssize_t* room, Py_ssize_t trusted) except? NULL
    cdef bint placed(self, Py_ssize_t size, uint64_t now) except -1

    # Return credit of the connection for bytes in their place, of a stream (as a grant beyond its window).
    cdef int place(self, Py_ssize_t size) except -1
    cdef int take(self, Http2Stream stream, Py_ssize_t size) except -1
    cdef int grant(self, Http2Stream stream, int64_t size) except -1
    cdef int widen(self) except -1


cdef Http2Incoming new_incoming(Http2Control control, Py_ssize_t header_list_bytes)

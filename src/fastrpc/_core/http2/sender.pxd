cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.buffer cimport WriteBuffer
from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.http2.hpack_encoder cimport HeaderTemplate, HpackEncoder
from fastrpc._core.http2.stream_table cimport Http2Stream, StreamTable
from fastrpc._core.http2.windows cimport FlowControl


@cython.final
cdef class Http2Message:
    cdef:
        # A message of a stream that could not be written at once, or its trailers. Those of a stream are a chain in order:
        # `Http2Stream.unsent` is the first, `next` the following one, `last` (of the first) the end.
        Http2Message next
        Http2Message last

        # prefix[prefix_at:] and payload[offset:] are to be written.
        char[5] prefix
        int prefix_at
        bytes payload
        Py_ssize_t offset

        # Of trailers: their template and further fields (a list of token, name, value, or None).
        HeaderTemplate template
        list fields

        # Whether it ends our side of the stream.
        bint ends_stream


@cython.final
cdef class Http2Sender:
    cdef:
        # The parts of the connection that sending needs.
        HpackEncoder encoder
        FlowControl flow
        StreamTable streams

        # The peer's SETTINGS_MAX_FRAME_SIZE.
        Py_ssize_t frame_limit

        # Bytes to send: chunks in order (or None), then `out`; a block of headers counts for the table of the peer, so
        # nothing overtakes.
        WriteBuffer out
        list chunks
        Py_ssize_t chunk_bytes

        # Streams that wait: with small messages for a window, with large ones and those without room for their turn.
        Queue small
        Queue ring
        readonly Py_ssize_t queued_bytes

        # The last DATA frame, to which the next small message of its stream is added: its place in `out`, -1: none, its
        # stream, and the end of it, at which nothing may lie.
        Py_ssize_t _open_at
        Py_ssize_t _open_end
        uint32_t _open_stream

        # Streams that have room now, and those whose last frame is written; the connection tells the side above.
        list woken
        list over

        # Frames of DATA (a longer one counts as several) and HEADERS so far: WINDOW_UPDATE and PING of the peer depend on it.
        uint64_t frames_sent

    cdef Py_ssize_t begin_head(self) except -1
    cdef int end_head(self, Http2Stream stream, Py_ssize_t start, bint ends_stream) except -1
    cdef int send_message(self, Http2Stream stream, bytes payload, int flags, bint ends_stream) except -1
    cdef int send_data(self, Http2Stream stream, bytes payload, bint ends_stream) except -1
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1
    cdef int drop_unsent(self, Http2Stream stream) except -1
    cdef int unpark(self, Http2Stream stream) except -1
    cdef int wait_turn(self, Http2Stream stream) except -1
    cdef int pump(self, Py_ssize_t room, bint with_large) except -1
    cdef object take_output(self)
    cdef int skip_output(self) except -1

    cdef inline Py_ssize_t output_bytes(self) noexcept:
        """Bytes that `take_output` would return."""
        return self.out.size + self.chunk_bytes

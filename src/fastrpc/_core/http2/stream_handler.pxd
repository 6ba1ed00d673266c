"""The interface by which a connection of HTTP/2 tells its side of frames."""

from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.stream_table cimport Http2Stream


cdef class StreamHandler:
    # All pointers are valid during the call alone. A hook may give any order, also reset its stream or end the
    # connection. A stream is over once both sides ended it or one reset it. Then `on_over` is the last hook about the
    # stream, even if an order of the side ended it: the hook is called within the order, or once the waiting output is
    # written. The side drops its references then (`stream.user` is the side's own). A connection that is over, or lost,
    # has no further hooks about streams.
    #
    # The first head of a message: of a request to a server, of an answer to a client, where interim ones (1xx) are
    # dropped. A head that keeps all rules of RFC 9113 came. With `block.is_too_large` fields beyond the limit are left
    # out, and the answer has to say so. Equal blocks are one object: `block.note` keeps the side's findings about the
    # block.
    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1

    # A part of DATA, empty only at the end of the stream: a frame may come in several parts. A part is placed when the hook
    # returns: the credit of the connection goes back by itself, the credit of the stream by `Http2Connection.took`.
    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1

    # The place for the message in a long DATA frame, or None (`on_data` gets all of it): the next bytes of the frame up
    # to `total - filled` are received there without a copy, and added to `filled` before `on_placed`.
    cdef Assembly sink_for(self, Http2Stream stream)
    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1

    # Trailers: they end the stream.
    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1

    # The peer reset the stream; or the peer broke a rule of the stream, and we have reset it.
    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1
    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1
    cdef int on_over(self, Http2Stream stream) except -1

    # A server refused a stream, as too many are open.
    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1

    # A stream that called `await_turn` has its turn, and all its earlier messages are written.
    cdef int on_sendable(self, Http2Stream stream) except -1

    # Whether free memory allows windows to grow. Let the rest of a long message arrive, if one is under way;
    # `is_awaited`: the reader of its stream begins to wait for it.
    cdef bint may_lend(self) noexcept
    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1

    # The peer's settings arrived, the first or new ones (`control.peer`): a client may have room for further streams.
    cdef int on_settings(self) except -1

    # GOAWAY of the peer. `not_taken`: our streams that it did not process; they are closed already (no `on_over`). With
    # CODE_CALM_DOWN and `debug` b"too_many_pings" a client doubles the interval of its pings on further connections.
    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1

    # The peer broke a rule of the connection, or used up a budget: GOAWAY and `on_closed` follow.
    cdef int on_violation(self, int code, str text) except -1

    # This side ends the connection, by `close_with` or `end`, and its streams: what is written leaves, then the side
    # ends the byte stream, which reads on for a while if it `lingers`. Called once; not called for a lost byte stream.
    cdef int on_closed(self, bint lingers) except -1

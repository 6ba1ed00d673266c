"""The hooks that an HTTP/2 connection calls for received frames, implemented by its user."""

from libc.stdint cimport uint32_t

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.http2.header_block cimport HeaderBlock
from fastrpc._core.http2.stream_table cimport Http2Stream


cdef class StreamHandler:
    # All pointers are valid only during the call. A hook may call any method of the connection, even reset its stream or
    # end the connection. A stream is over once both sides have ended it or one has reset it. Then `on_over` is the last
    # hook for the stream, even if the user itself ended it: it is called within the method that ends the stream, or once
    # the waiting output is written. The user drops its references there (`stream.user` belongs to the user). Once a
    # connection is over or lost, no hooks for streams are called.
    #
    # Handle the head of a message: of a request on a server, of an answer on a client, where interim heads (1xx) are
    # dropped. The head breaks no rule of RFC 9113. If `block.is_too_large`, fields beyond the limit are omitted, and the
    # user has to refuse the message. Equal blocks are the same object; the user may keep data about a block in
    # `block.note`.
    cdef int on_head(self, Http2Stream stream, HeaderBlock block, bint ends_stream) except -1

    # Handle a part of a DATA frame, which is empty only at the end of the stream. When the hook returns, the connection's
    # credit for the bytes is returned; the user returns the credit of the stream with `Http2Connection.took`.
    cdef int on_data(self, Http2Stream stream, const char* data, Py_ssize_t size, bint ends_stream) except -1

    # Return the assembly for the message in a long DATA frame, or None (then `on_data` gets all of it). At most `total -
    # filled` bytes of the frame are received there without a copy, and added to `filled`, before `on_placed`.
    cdef Assembly sink_for(self, Http2Stream stream)
    cdef int on_placed(self, Http2Stream stream, Py_ssize_t size, bint ends_stream) except -1

    # Handle trailers, which end the peer's side of the stream.
    cdef int on_trailers(self, Http2Stream stream, HeaderBlock block) except -1

    # `on_reset` handles a stream that the peer has reset; `on_stream_violation` a stream that we have reset because the
    # peer broke a rule of the stream.
    cdef int on_reset(self, Http2Stream stream, uint32_t code) except -1
    cdef int on_stream_violation(self, Http2Stream stream, const Violation* violation) except -1
    cdef int on_over(self, Http2Stream stream) except -1

    # Note that a server's connection refused a stream, as too many are open.
    cdef int on_refused(self, uint32_t id, HeaderBlock block) except -1

    # Wake the sender of a stream that called `await_turn`: it is its turn, and its earlier messages are written.
    cdef int on_sendable(self, Http2Stream stream) except -1

    # `may_lend` returns whether free memory allows windows to grow. `grant_rest` grants the rest of a long message that
    # is partly received. `is_awaited` says that the reader of the stream begins to wait for it.
    cdef bint may_lend(self) noexcept
    cdef int grant_rest(self, Http2Stream stream, bint is_awaited) except -1

    # Handle the peer's settings, the first or new ones (`control.peer`): a client may be able to open more streams.
    cdef int on_settings(self) except -1

    # Handle GOAWAY of the peer. `not_taken` are our streams that it did not process; they are closed already, without
    # `on_over`. For CODE_CALM_DOWN and `debug` b"too_many_pings" a client doubles the interval of pings on further
    # connections.
    cdef int on_goaway(self, uint32_t last_stream, uint32_t code, bytes debug, list not_taken) except -1

    # Note that the peer broke a rule of the connection, or used up a budget. GOAWAY and `on_closed` follow.
    cdef int on_violation(self, int code, str text) except -1

    # Handle the end of the connection and its streams by this side (`close_with`, `end`): end the byte stream once the
    # written output is sent; if it `lingers`, its input is read for a while. Called once, and not if the byte stream is
    # lost.
    cdef int on_closed(self, bint lingers) except -1

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.base.priority_queue cimport Queue
from fastrpc._core.http2.hpack cimport HeaderTemplate, HpackEncoder
from fastrpc._core.http2.stream_table cimport FlowControl, Http2Stream, StreamTable
from fastrpc._core.io.engine cimport LITTLE, MUCH, NOTHING
from fastrpc._core.native.send_queue cimport BURST
from fastrpc._core.wire.rounds cimport Round

cdef enum:
    # The size of the prefix of a gRPC message, which has a flag for compression and the size of the message.
    PREFIX_BYTES = 5


@cython.final
cdef class Http2Message:
    cdef:
        # A message of a stream that could not be written at once, or its trailers. The messages of a stream are a chain:
        # `Http2Stream.unsent` is the first, `next` the following one, `last` (of the first) the end.
        Http2Message next
        Http2Message last

        # The unwritten part is prefix[prefix_at:] and payload[offset:].
        char[PREFIX_BYTES] prefix
        int prefix_at
        bytes payload
        Py_ssize_t offset

        # `is_trailers`: whether these are trailers. For trailers: their template, or None, and a list of further fields
        # (token, name, value), or None.
        bint is_trailers
        HeaderTemplate template
        list fields

        # `ends_stream`: whether the message ends our side of the stream; `is_cut`: whether its bytes are counted in
        # `Http2Sender.cut_bytes`.
        bint ends_stream
        bint is_cut

    cdef inline Py_ssize_t left(self) noexcept:
        """Return the number of unwritten bytes of DATA."""
        return PREFIX_BYTES - self.prefix_at + len(self.payload) - self.offset


cdef struct Stall:
    # `since_ns`: since when the peer has read nothing of a stream's waiting output, 0: no output waits; `written`: the
    # bytes that were written by then.
    uint64_t since_ns
    int64_t written


@cython.final
cdef class Http2Sender(OutputBuffer):
    cdef:
        # The parts of the connection that sending needs.
        HpackEncoder encoder
        FlowControl flow
        StreamTable streams

        # The peer's SETTINGS_MAX_FRAME_SIZE.
        Py_ssize_t frame_limit

        # The streams with small messages that wait for the window of the connection.
        Queue small
        # `ring`: the streams that wait for their turn: with large messages, or with a sender that waits for room;
        # `round`: their turns.
        Queue ring
        Round round
        # The number of streams in `small` and `ring` that wait for nothing any more. They are removed when they are
        # many.
        Py_ssize_t dropped

        # `queued_bytes`: the bytes of all waiting messages; `cut_bytes`: the bytes of the messages that others may
        # overtake: partly written messages, and messages that wait for the windows of their streams.
        readonly Py_ssize_t queued_bytes
        Py_ssize_t cut_bytes

        # The bytes of waiting messages that were written so far, of all streams.
        int64_t written_bytes

        # Whether the first small message waited for the window of the connection at the last `pump`.
        bint lacks_credit

        # `_open_at`: the last DATA frame, to which the next short message of the same stream is added: its offset in
        # `out`, or -1; `_open_end`: the offset of its end; `_open_stream`: its stream.
        Py_ssize_t _open_at
        Py_ssize_t _open_end
        uint32_t _open_stream

        # `is_pumping`: whether `pump` is running; `woken`: streams that have room now; `over`: streams that were ended
        # in `pump`, of which the connection notifies its user.
        bint is_pumping
        list woken
        list over

        # `frames_sent`: the number of sent HEADERS and DATA frames, one for each 16 KiB, which limits the peer's
        # WINDOW_UPDATE and PING; `short_cost`: the cost of short pieces that the peer's windows forced.
        uint64_t frames_sent
        Py_ssize_t short_cost

    # Write heads and trailers. Nothing else may be written between `begin_head` and `end_head`.
    cdef Py_ssize_t begin_head(self) except -1
    cdef int put_fields(self, HeaderTemplate template, list fields) except -1
    cdef int end_head(self, Http2Stream stream, Py_ssize_t start, bint ends_stream) except -1
    cdef int send_trailers(self, Http2Stream stream, HeaderTemplate template, list fields) except -1

    # Write or queue messages. For bytes without a prefix, `prefix` is NULL.
    cdef int send(self, Http2Stream stream, const char* prefix, bytes payload, bint ends_stream) except -1
    cdef int drop_unsent(self, Http2Stream stream) except -1
    cdef int forget_all(self) except -1
    cdef bint has_room(self, Http2Stream stream) noexcept
    cdef uint64_t stalled_since(self, Http2Stream stream, Stall* stall, uint64_t now) noexcept
    cdef int wait_turn(self, Http2Stream stream) except -1
    cdef int unpark(self, Http2Stream stream) except -1
    cdef int unpark_all(self) except -1
    cdef int pump(self, Py_ssize_t room, bint with_large) except -1

    cdef inline bint has_end(self, Http2Stream stream) noexcept:
        """Return whether the end of our side of a stream is queued after its messages."""
        return stream.unsent is not None and (<Http2Message>stream.unsent).last.ends_stream

    cdef inline bint is_waiting(self) noexcept:
        """Return whether streams wait for the window of the connection or for their turn."""
        return self.small._items is not None or self.ring._items is not None

    cdef inline int rest(self) noexcept:
        """Return how much output waits for its turn rather than for credit: NOTHING, LITTLE, or MUCH."""
        if self.ring._items is not None or (self.small._items is not None and not self.lacks_credit):
            return LITTLE if self.queued_bytes <= BURST and self.round.streams == 0 else MUCH
        return NOTHING

    # Parts of `send`. The windows must have room for the written bytes.
    cdef int _write_short(
        self, Http2Stream stream, const char* prefix, int prefix_size, const char* data, Py_ssize_t size, bint ends_stream
    ) except -1
    cdef int write_piece(self, Http2Stream stream, Http2Message message, Py_ssize_t size) except -1

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.wire.growth cimport Growth, WindowPool
from fastrpc._core.wire.window cimport Window


cdef struct StreamWindows:
    # The send and receive windows, relative to the initial windows of all streams, so that SETTINGS change all windows
    # without a loop: WINDOW_UPDATE raises them, DATA lowers them. The windows themselves may be negative.
    int64_t sending
    int64_t receiving
    # The bytes left up to the limit before the last credit, 0 or less once they are used up. The peer may not have read
    # that credit yet.
    int64_t replaced
    # The credit that is owed, and how far the window for receiving has grown.
    Growth growth
    # The bytes that the pool granted beyond the window, for long messages that are not read yet.
    int64_t granted


cdef class Http2Stream


@cython.final
cdef class FlowControl:
    cdef:
        # The windows of the connection, for sending and for receiving.
        readonly int64_t sending
        Window receiving

        # The pool of bytes that streams may borrow beyond their first windows.
        WindowPool pool
        # The bytes of the pool that are granted for long messages.
        readonly int64_t granted
        # The streams whose long messages wait for room in the pool, in order, or None.
        dict waiting
        # The waiting streams whose messages are unary answers, which are always read soon.
        dict waiting_answers

        # The initial windows of streams: for sending by the peer's settings, for receiving by this side's acknowledged
        # settings.
        readonly int64_t first_sending
        readonly int64_t first_receiving

        # An upper bound of `StreamWindows.sending` of all open streams.
        int64_t _highest

    # Return how many bytes a stream may send now. `receivable` returns how many it may receive.
    cdef int64_t sendable(self, const StreamWindows* stream) noexcept
    cdef inline int64_t receivable(self, const StreamWindows* stream) noexcept:
        return self.first_receiving + stream.receiving

    cdef int sent(self, StreamWindows* stream, Py_ssize_t size) noexcept

    # Apply WINDOW_UPDATE of the connection (`stream` is NULL) or of a stream; return -1 if it breaks a rule.
    cdef int raise_window(self, StreamWindows* stream, uint32_t increment, Violation* violation) noexcept

    # Apply the peer's SETTINGS_INITIAL_WINDOW_SIZE; return -1 if a window overflows. `highest` is the highest
    # `StreamWindows.sending` of all open streams if `needs_highest` returns True, otherwise it is not used.
    cdef bint needs_highest(self, int64_t first) noexcept
    cdef int change_first_sending(self, int64_t first, int64_t highest, Violation* violation) noexcept

    # Count received DATA of a stream, or of an ended stream (NULL); return -1 if it exceeds a window.
    cdef int receive(self, StreamWindows* stream, Py_ssize_t size, Violation* violation) noexcept

    # Count bytes of a stream as read; return the credit to send now, or 0. `may_lend` says that windows may grow.
    cdef int64_t place_of_stream(self, StreamWindows* stream, Py_ssize_t size, bint may_lend) noexcept

    # For messages that are longer than the window of their stream.
    #
    # Return whether the pool has room for such a message and no other waits before it. Unary answers precede messages of
    # streams, which may never be read.
    cdef bint has_room(self, Http2Stream stream, int64_t size, bint is_answer) except -1
    # Reserve bytes of the pool for a stream, even if the pool has none left.
    cdef int borrow(self, Http2Stream stream, int64_t size) except -1
    # Queue a stream that waits for room in the pool.
    cdef int await_room(self, Http2Stream stream, bint is_answer) except -1
    # Remove and return all waiting streams, answers first. Check `has_room` again for each.
    cdef dict take_waiting(self)
    # Note that the program read bytes. Return how many of them were granted beyond the window; the pool has these again.
    cdef int64_t repay(self, StreamWindows* stream, int64_t size) noexcept

    # Let a message continue beyond the window of its stream; return the credit to send now.
    cdef int64_t grant(self, StreamWindows* stream, int64_t size) noexcept

    # Grow the window of a stream whose reader waits. Return the credit to send now, or 0.
    cdef int64_t reader_waits(self, StreamWindows* stream, bint may_lend) noexcept
    # Return the borrowed bytes of a closed stream to the pool: the growth of its window and its grants.
    cdef inline int end_window(self, StreamWindows* stream) noexcept:
        return self.take_back(stream) if stream.growth.grown or stream.granted else 0

    cdef int take_back(self, StreamWindows* stream) noexcept

    # Raise the window of the connection to a size; return the credit to send now.
    cdef int64_t widen(self, int64_t size) noexcept


cdef enum:
    # How many closed streams a connection remembers by their ids. A newer one replaces an older one.
    REMEMBERED = 128

cdef enum Ending:
    # How a stream was closed: unknown (long ago, or it was never opened), both sides ended it, the peer sent RST_STREAM,
    # we sent RST_STREAM.
    ENDING_FORGOTTEN = 0
    ENDING_BOTH = 1
    ENDING_BY_PEER = 2
    ENDING_BY_US = 3


@cython.final
cdef class Http2Stream:
    cdef:
        readonly uint32_t id

        # Which sides have ended the stream. It is half-closed after one side, and closed after both.
        readonly bint is_ended_by_peer
        readonly bint is_ended_by_us

        # `has_head`: whether the head of the peer's message arrived, so that the next block is trailers. `is_of_grpc`:
        # whether it is a gRPC head.
        readonly bint has_head
        bint is_of_grpc

        # Bytes of DATA still to come according to content-length; -1 without content-length.
        readonly int64_t content_left

        StreamWindows windows

        # `keeps_credit`: whether the connection's credit for received bytes is held back until
        # `Http2Connection.release`; `kept_credit`: how much is.
        bint keeps_credit
        int64_t kept_credit

        # `unsent`: our waiting messages, as the first Http2Message of a chain, or None. `is_queued`: whether the stream
        # waits in a queue; `is_parked`: whether it waits for its own window.
        object unsent
        bint is_queued
        bint is_parked

        # Written bytes of messages that had to wait.
        int64_t written_bytes

        # `share`: the stream's share of a turn of the connection. `share_turn`: the number of this turn.
        int64_t share
        uint32_t share_turn
        # Whether the stream has to be notified when it can send again.
        bint waits_to_send
        # Whether the stream waited for that notification when it entered the ring, and so has more to send.
        bint is_streaming

        # Whether the stream stays half-closed when the server ends its side first, as the client may have output left.
        bint lingers

        # `is_known`: whether the connection's user knows the stream and still has to be notified of its end.
        # `was_cut_short`: whether we reset the stream before the peer ended its side.
        bint is_known
        bint was_cut_short

        # The call for which the connection's user opened the stream. The user clears it when the stream is closed.
        public object user


@cython.final
cdef class StreamTable:
    cdef:
        readonly bint is_client

        # `_streams`: the open and half-closed streams by id. `limit`: the most of them; a server announces this limit,
        # a client gets it from its peer.
        CallTable _streams
        public Py_ssize_t limit

        # The number of streams of streaming calls, and its limit (`Limits.streams`).
        Py_ssize_t streaming
        Py_ssize_t most_streaming

        # The highest id so far. Streams with higher ids are idle.
        readonly uint32_t highest
        # `opened`: the number of streams that the peer has opened; it may skip ids. `is_left`: whether the peer's
        # GOAWAY arrived; `last_taken`: the highest id that this GOAWAY accepts.
        uint64_t opened
        readonly bint is_left
        readonly uint32_t last_taken

        # The recently closed streams: id >> 1 << 2 | Ending, at index id >> 1 modulo REMEMBERED.
        uint32_t[REMEMBERED] _ended

    # Return the stream of the peer's frame; HEADERS may open it. None if the stream is closed: drop the frame, but decode
    # its block and count its DATA for the connection. None with `violation.rule` set if the peer broke a rule.
    cdef Http2Stream arrive(self, int kind, uint32_t id, Violation* violation)

    # Note the head of a message with its content-length (-1 if it has none), or the trailers. Return -1 if they break a
    # rule of the stream.
    cdef int take_head(
        self, Http2Stream stream, bint is_interim, bint ends_stream, int64_t content_length, Violation* violation
    ) except -2

    # Note DATA, and the end of the peer's side. Return -1 if DATA breaks a rule of the stream.
    cdef int take_data(self, Http2Stream stream, Py_ssize_t size, bint ends_stream, Violation* violation) except -2

    # Open a stream to the peer. None if the limit is reached, the ids are used up, or the peer has sent GOAWAY.
    cdef Http2Stream open(self)
    cdef Http2Stream find(self, uint32_t id)

    # End our side, which closes the stream if the peer has ended its side. RST_STREAM of either side closes it.
    cdef int end(self, Http2Stream stream) except -1
    cdef int reset(self, Http2Stream stream, bint is_by_us) except -1

    # Apply GOAWAY of a server. Return the streams that it did not handle, or None if GOAWAY is a violation.
    cdef list leave(self, uint32_t last_taken, Violation* violation)

    cdef list entries(self)

    # Count a streaming call. Return the error text if the limit is reached, else None.
    cdef str count_messages(self)

    cdef inline Py_ssize_t count_open(self) noexcept:
        """Return how many streams are open."""
        return self._streams.size

    # Return the highest `StreamWindows.sending` of all streams.
    cdef int64_t highest_sending(self) except? -1

    # The parts.
    cdef Http2Stream _add(self, uint32_t id)
    cdef Http2Stream _open_by_peer(self, uint32_t id, Violation* violation)
    cdef int _end_by_peer(self, Http2Stream stream, Violation* violation) except -2
    cdef int _close(self, Http2Stream stream, int ending) except -1
    cdef int _remember(self, uint32_t id, int ending) noexcept
    cdef int _ending_of(self, uint32_t id) noexcept

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.http2.frames cimport Violation
from fastrpc._core.native.call_table cimport CallTable
from fastrpc._core.wire.growth cimport Growth, WindowPool
from fastrpc._core.wire.window cimport Window


cdef struct StreamWindows:
    # Relative to the first windows of all streams, so that SETTINGS change each window without visiting each stream:
    # raised by WINDOW_UPDATE, lowered by DATA. The windows themselves may be negative.
    int64_t sending
    int64_t receiving
    # The bytes left up to the limit before the last credit; 0 or less: that limit is reached. The peer may
    # not know the new limit yet.
    int64_t replaced
    # The credit that is owed, and how far the window for receiving has grown.
    Growth growth
    # Bytes of the pool that it was granted beyond the window, for long messages that were not taken yet.
    int64_t granted


cdef class Http2Stream


@cython.final
cdef class FlowControl:
    cdef:
        # The windows of the connection.
        readonly int64_t sending
        Window receiving

        # The bytes that streams may borrow from the connection beyond their first windows.
        WindowPool pool
        # The part of the pool that streams were granted for long messages.
        readonly int64_t granted
        # The streams whose messages wait for more of the pool, in their order, or None.
        dict waiting
        # The waiting streams whose messages are answers. Answers are taken in any case.
        dict waiting_answers

        # The first windows of streams: by the peer's settings, and by our settings that are in force.
        readonly int64_t first_sending
        readonly int64_t first_receiving

        # At least the highest `StreamWindows.sending` of all streams that are open.
        int64_t _highest

    # Return the bytes that a stream may send now, and the bytes that it may receive.
    cdef int64_t sendable(self, const StreamWindows* stream) noexcept
    cdef inline int64_t receivable(self, const StreamWindows* stream) noexcept:
        return self.first_receiving + stream.receiving

    cdef int sent(self, StreamWindows* stream, Py_ssize_t size) noexcept

    # Apply WINDOW_UPDATE of the connection (stream NULL) or a stream. -1: it breaks a rule, of the connection or the stream.
    cdef int raise_window(self, StreamWindows* stream, uint32_t increment, Violation* violation) noexcept

    # Apply the peer's SETTINGS_INITIAL_WINDOW_SIZE; if `needs_highest` says so, with the highest sending window of all
    # open streams. -1: a window overflows.
    cdef bint needs_highest(self, int64_t first) noexcept
    cdef int change_first_sending(self, int64_t first, int64_t highest, Violation* violation) noexcept

    # Count received DATA of a stream, NULL: an ended stream. -1: it exceeds a window, of the connection or the stream.
    cdef int receive(self, StreamWindows* stream, Py_ssize_t size, Violation* violation) noexcept

    # Count bytes as placed; return the credit to send now, 0: none yet. `may_lend`: windows may grow into free memory.
    cdef int64_t place_of_stream(self, StreamWindows* stream, Py_ssize_t size, bint may_lend) noexcept

    # Messages longer than the window of their stream.
    #
    # Return whether the pool has room for a message longer than its window: first come, first served, but answers
    # before messages that may never be read.
    cdef bint has_room(self, Http2Stream stream, int64_t size, bint is_answer) except -1
    # Reserve the room for one stream, even if the pool has none left.
    cdef int borrow(self, Http2Stream stream, int64_t size) except -1
    # Let a stream wait for room.
    cdef int await_room(self, Http2Stream stream, bint is_answer) except -1
    # Return all waiting streams, answers first; ask `has_room` again for each.
    cdef dict take_waiting(self)
    # The program took bytes: return how many of them were granted beyond the window. These are back in the pool.
    cdef int64_t repay(self, StreamWindows* stream, int64_t size) noexcept

    # Let a message continue beyond the window of its stream; return the credit to send now.
    cdef int64_t grant(self, StreamWindows* stream, int64_t size) noexcept

    # The reader of a stream waits: let its window grow, and return the credit to send now, 0: none.
    cdef int64_t reader_waits(self, StreamWindows* stream, bint may_lend) noexcept
    # A stream is over: return its borrowed bytes to the pool, both the growth of its window and its grants.
    cdef inline int end_window(self, StreamWindows* stream) noexcept:
        return self.take_back(stream) if stream.growth.grown or stream.granted else 0

    cdef int take_back(self, StreamWindows* stream) noexcept

    # Raise the window of the connection to a size; return the credit to send now.
    cdef int64_t widen(self, int64_t size) noexcept


cdef enum:
    # Recently ended streams that are remembered by their ids; a newer one replaces an older one.
    REMEMBERED = 128

cdef enum Ending:
    # How a stream ended: long ago or never opened, by the ends of both sides, by RST_STREAM of the peer, by ours.
    ENDING_FORGOTTEN = 0
    ENDING_BOTH = 1
    ENDING_BY_PEER = 2
    ENDING_BY_US = 3


@cython.final
cdef class Http2Stream:
    cdef:
        readonly uint32_t id

        # Which sides have ended: half-closed with one, closed with both.
        readonly bint is_ended_by_peer
        readonly bint is_ended_by_us

        # Whether the head of the peer's message came: a further block is trailers. Whether that head is of gRPC.
        readonly bint has_head
        bint is_of_grpc

        # Bytes of DATA that content-length still announces; -1: it announces nothing.
        readonly int64_t content_left

        StreamWindows windows

        # Whether received bytes keep their credit of the connection (`Http2Connection.release`), and how many do.
        bint keeps_credit
        int64_t kept_credit

        # Our waiting messages, the first one of a chain (Http2Message) or None, and where the stream waits with them:
        # in a queue, or for its own window.
        object unsent
        bint is_queued
        bint is_parked

        # The bytes of messages that waited and are written.
        int64_t written_bytes

        # The stream's share of a turn of the connection, and the number of this turn.
        int64_t share
        uint32_t share_turn
        # Whether it has to be notified of room.
        bint waits_to_send
        # Whether it waited to be notified when it entered the ring: it has more to send.
        bint is_streaming

        # Whether it stays half-closed when a server's side ends first: the client may have last output.
        bint lingers

        # Whether the user knows it, and was not yet notified of its end. Whether we reset it before the peer's end.
        bint is_known
        bint was_cut_short

        # The call for which the connection's user opened it; the user clears it once the stream is over.
        public object user


@cython.final
cdef class StreamTable:
    cdef:
        readonly bint is_client

        # The open and half-closed streams, by id; their largest number, which a server announces and a client reads.
        CallTable _streams
        public Py_ssize_t limit

        # The number of streams that carry any number of messages, and its limit (`Limits.streams`).
        Py_ssize_t streaming
        Py_ssize_t most_streaming

        # The highest id so far: higher ones are idle. Whether GOAWAY of the peer arrived, and the highest id that it
        # accepts.
        readonly uint32_t highest
        # The streams that the peer has opened so far: ids may be skipped.
        uint64_t opened
        readonly bint is_left
        readonly uint32_t last_taken

        # id >> 1 << 2 | Ending of streams that ended lately, at id >> 1.
        uint32_t[REMEMBERED] _ended

    # Return the stream that a frame of the peer names; HEADERS opens it. None: it is over, the frame is dropped (its block
    # is decoded, its DATA counts for the connection), or the peer broke a rule, and `violation.rule` is not 0.
    cdef Http2Stream arrive(self, int kind, uint32_t id, Violation* violation)

    # Note the head of a message, or its trailers, with the content-length (-1: none). -1: it breaks a rule of the
    # stream.
    cdef int take_head(
        self, Http2Stream stream, bint is_interim, bint ends_stream, int64_t content_length, Violation* violation
    ) except -2

    # Note DATA, and the end of the peer's side. -1: it breaks a rule of the stream.
    cdef int take_data(self, Http2Stream stream, Py_ssize_t size, bint ends_stream, Violation* violation) except -2

    # Open a stream of ours. None: the limit is reached, the ids are used up, or the peer leaves.
    cdef Http2Stream open(self)
    cdef Http2Stream find(self, uint32_t id)

    # End our side: with both ends the stream is closed. RST_STREAM of a side closes it.
    cdef int end(self, Http2Stream stream) except -1
    cdef int reset(self, Http2Stream stream, bint is_by_us) except -1

    # Take GOAWAY of a server: return the streams that it did not handle, or None for a violation.
    cdef list leave(self, uint32_t last_taken, Violation* violation)

    cdef list entries(self)

    # Count a stream of messages: return why there is no place for it, None: there is one.
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

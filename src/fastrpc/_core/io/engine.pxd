from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.base.timer_wheel cimport Timed

cdef enum:
    # Bytes of ours that may be in the stream while an engine still chooses the next output.
    STREAM_SHARE = 262_144
    # Messages that are handled between two reads of the clock.
    MESSAGES_AT_ONCE = 32
    # The delay of work, in nanoseconds, from which on it counts as late.
    LATE_NS = 1_000_000

cdef enum:
    # A further pump may find: nothing, at most what may be sent in the same turn of the loop, or more.
    NOTHING
    LITTLE
    MUCH


cdef class ByteStream(Timed):
    cdef:
        # Its engine, borrowed, NULL once it is gone. Whichever of the two is freed first clears the other's pointer.
        PyObject* _engine

    # Questions and orders of an engine.
    cdef int on_output(self) except -1
    cdef int flush(self) except -1
    cdef int push(self) except -1
    cdef bint ask_turn(self) except -1
    cdef int schedule_check(self, uint64_t due_ns) except -1
    cdef bint ends_turn(self) except -1
    cdef int hold_input(self) except -1
    cdef int release_input(self) except -1
    cdef bint waits_for_turn(self) noexcept
    cdef bint has_unread(self) except -1
    cdef bint is_stuck(self) noexcept
    cdef bint sends_at_once(self) noexcept
    cdef bint flushes_soon(self) noexcept
    cdef int64_t untaken_bytes(self) except? -1
    cdef int64_t kept_bytes(self) except? -1
    cdef int64_t taken_bytes(self) except? -1
    cdef bint finish(self, bint lingers) except -1
    cdef int cut_off(self) except -1
    cdef int hold_back(self, bint is_held_back) except -1
    cdef bint is_ending(self) except -1
    cdef int engine_ready(self) except -1


cdef class Engine:
    cdef:
        # The stream that brings it bytes and time: borrowed, NULL before there is one and once it is gone.
        PyObject* _stream

        # Where an object that may outlive the engine keeps a borrowed pointer to it; NULL: nowhere. Whichever of the two is
        # freed first clears the other's pointer.
        PyObject** _known_at

        # The bytes that it has to send, never None. The stream takes them after each `pump`.
        OutputBuffer output

        # Set by the stream before each use: the instant now, the instant of the last bytes, and the earliest instant at
        # which the peer may have sent the present bytes (0: unknown, they arrived now).
        public uint64_t now
        public uint64_t received_ns
        uint64_t came_ns

        # A read is being handled; the stream flushes at its end.
        bint is_reading
        # During a read: the instant at which this turn of the loop has handled enough.
        uint64_t turn_ends_ns
        # During a read: the messages to handle before the stream is asked whether to go on.
        int messages_left

        # Whether this read brought work without an answer, or a refusal in unbounded number: such work has a separate
        # share of the turn (`loop/turns`).
        bint is_unanswered

        # Whether something small that was read waits for the next turn of the loop: an answer, a request whose handler
        # waits, a message. Large ones have time. The stream clears it after a short read, and when it gives the loop a turn
        # for these.
        bint woke

        # Whether input before the end of the stream counts even if it waits for its turn.
        bint reads_to_end

        # Whether the connection is over.
        readonly bint is_closed

        # Whether calls of ours may be sent: connected, and the peer takes new ones. The part that makes them, a
        # CallingPart (`calls/calling_part`, which this room does not know); None if no calls of ours are made.
        readonly bint is_usable
        readonly object calling

    # Bytes in. Bytes that `receive` leaves are presented again, with further ones; a place is valid until the next
    # call.
    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1
    cdef char* body_place(self, Py_ssize_t* room) except? NULL
    cdef int body_received(self, Py_ssize_t size) except -1
    cdef bint completes_body(self, Py_ssize_t size) noexcept
    cdef object body_owner(self)
    cdef int eof(self) except -1
    cdef bint hears_rest_first(self) except -1
    cdef int lost(self, object error) except -1

    # Bytes out.
    cdef int pump(self) except -1
    cdef int rest(self) noexcept

    # For engines: whether the rest of this read has to wait, asked once `messages_left` is used up.
    cdef bint has_to_wait(self) except -1

    # For engines: report that output was written. It is sent at the end of the read that is handled now, else in the
    # next turn of the loop.
    cdef inline int written(self) except -1:
        if not self.is_reading and self._stream is not NULL:
            (<ByteStream>self._stream).on_output()
        return 0

    # For engines whose messages wait only in their output: its bytes that the peer has not taken.
    cdef inline int64_t unsent_output(self) except? -1:
        return self.output.size() + (0 if self._stream is NULL else (<ByteStream>self._stream).untaken_bytes())

    # Time: compare every running instant with now; return the next one, 0 = none.
    cdef uint64_t check(self, uint64_t now) except? 0

    # Events of the stream.
    cdef int connected(self) except -1
    cdef int read_done(self) except -1
    cdef int heard_below(self) except -1
    cdef int turn_over(self) except -1
    cdef int flushed(self) except -1
    cdef uint64_t blocked(self) except? 0
    cdef int unblocked(self) except -1
    cdef int stalled(self) except -1
    cdef int was_late(self, uint64_t late) except -1
    cdef int tail_changed(self, Py_ssize_t change) except -1
    cdef int left_behind(self) except -1
    cdef bint may_spin(self) noexcept
    cdef int crash(self) except -1

    # For engines and served connections: a message of this read was work without an answer. The stream is asked sooner.
    cdef inline int note_unanswered(self) noexcept:
        self.is_unanswered = True
        self.messages_left -= MESSAGES_AT_ONCE // 8 - 1
        return 0

    # For streams and served connections: log an internal error, and `crash`.
    cdef int report_crash(self, object error) except -1

    # For streams: end a connection whose peer sends an endless message.
    cdef int end_endless(self, Py_ssize_t size) except -1


cdef int bind(Engine engine, ByteStream stream) except -1


cdef class PythonEngine(Engine):
    cdef:
        # Whether the connection survives the end of the peer's input.
        public bint outlasts_input

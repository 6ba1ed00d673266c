from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.output_buffer cimport OutputBuffer
from fastrpc._core.base.timer_wheel cimport Timed

cdef enum:
    # The most bytes of output in the stream while an engine still chooses the next output.
    STREAM_SHARE = 262_144
    # The number of messages that are handled between two reads of the clock.
    MESSAGES_AT_ONCE = 32
    # The delay in nanoseconds from which on work counts as late.
    LATE_NS = 1_000_000

cdef enum:
    # Results of `Engine.rest`. NOTHING: a further pump may find nothing. LITTLE: output that may be sent in the same
    # turn of the loop. MUCH: more output.
    NOTHING
    LITTLE
    MUCH


cdef class ByteStream(Timed):
    cdef:
        # The engine, borrowed; NULL once it is freed. Whichever of the two is freed first clears the other's pointer.
        PyObject* _engine

    # Calls of the engine.
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
        # The stream that passes bytes and the time: borrowed, NULL before there is a stream and once it is freed.
        PyObject* _stream

        # The address of a borrowed pointer to this engine, in an object that may outlive it, or NULL. Whichever of the
        # two is freed first clears the other's pointer.
        PyObject** _known_at

        # The bytes to send, never None. The stream takes them after each `pump`.
        OutputBuffer output

        # Set by the stream before each use. `now`: the current instant; `received_ns`: the instant of the last read;
        # `came_ns`: the earliest instant at which the peer may have sent the bytes of this read (0: unknown, they
        # arrived now).
        public uint64_t now
        public uint64_t received_ns
        uint64_t came_ns

        # Whether a read is being handled; the stream flushes when it is done.
        bint is_reading
        # During a read: the instant at which this turn of the loop is used up.
        uint64_t turn_ends_ns
        # During a read: the number of messages to handle before the stream is asked whether to continue.
        int messages_left

        # Whether this read brought work without an answer, or refusals, whose number no limit bounds. Such work has a
        # separate share of the turn (`loop/turns`).
        bint is_unanswered

        # Whether this read brought something small that other callbacks of the loop are to handle soon: an answer, a
        # message, a request with a waiting handler. The stream clears it after a short read, and when it yields to
        # these callbacks.
        bint woke

        # Whether input that waits for its turn is handled even after the stream has ended.
        bint reads_to_end

        # Whether the connection is over.
        readonly bint is_closed

        # Whether calls may be sent to the peer: the engine is connected, and the peer accepts calls. `calling`: the
        # part that sends them, a CallingPart (`calls/calling_part`, which this room does not import); None if this side
        # sends no calls.
        readonly bint is_usable
        readonly object calling

    # Input. Bytes that `receive` does not consume are passed again, with further ones. A place is valid until the next
    # call.
    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1
    cdef char* body_place(self, Py_ssize_t* room) except? NULL
    cdef int body_received(self, Py_ssize_t size) except -1
    cdef bint completes_body(self, Py_ssize_t size) noexcept
    cdef object body_owner(self)
    cdef int eof(self) except -1
    cdef bint hears_rest_first(self) except -1
    cdef int lost(self, object error) except -1

    # Output.
    cdef int pump(self) except -1
    cdef int rest(self) noexcept

    # For engines: whether the rest of this read has to wait. Asked once `messages_left` is used up.
    cdef bint has_to_wait(self) except -1

    # For engines: report that output was written. It is sent when the present read is handled, or in the next turn of
    # the loop.
    cdef inline int written(self) except -1:
        if not self.is_reading and self._stream is not NULL:
            (<ByteStream>self._stream).on_output()
        return 0

    # For engines whose messages wait only in `output`: the bytes that the peer has not received.
    cdef inline int64_t unsent_output(self) except? -1:
        return self.output.size() + (0 if self._stream is NULL else (<ByteStream>self._stream).untaken_bytes())

    # Time: compare every deadline with now; return the next one, 0 = none.
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

    # For engines and served connections: note that a message of this read was work without an answer. The stream is
    # then asked earlier whether to continue.
    cdef inline int note_unanswered(self) noexcept:
        self.is_unanswered = True
        self.messages_left -= MESSAGES_AT_ONCE // 8 - 1
        return 0

    # For streams and served connections: log an internal error, and close by `crash`.
    cdef int report_crash(self, object error) except -1

    # For streams: end a connection whose peer sends a message of unlimited length.
    cdef int end_endless(self, Py_ssize_t size) except -1


cdef int bind(Engine engine, ByteStream stream) except -1


cdef class PythonEngine(Engine):
    cdef:
        # Whether the connection survives the end of the peer's input.
        public bint outlasts_input

"""What an engine implements so that the calls on one of its connections are served."""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call

cdef enum Hold:
    # Why a request takes the slow way in. A stall of the loop: first everything is read that came meanwhile.
    HOLD_STALL = 1
    # More of our output waits than `Memory.send_soft`.
    HOLD_OUTPUT = 2
    # `Memory.request_bytes` is nearly used up: each request is compared with what is left.
    HOLD_REQUESTS = 4

cdef enum:
    # What a call costs beside its bytes: its objects, its coroutine, its task (PROTOCOL.md, "Memory").
    CALL_RECORD = 3072

# What all connections of this process hold together: requests, calls under way, output, reads that wait.
cdef int64_t process_held

# Change it; return what is held from then on.
cdef int64_t hold_bytes(int64_t change) noexcept


@cython.final
cdef class Failure:
    cdef:
        # The status and its text; encoded details, empty where there are none.
        readonly int status
        readonly str text
        readonly bytes details

        # Milliseconds after which to try again; 0: nothing said, all ones: do not.
        readonly uint32_t pushback_ms

        # Whether the handler may have run, or something made a call in its place.
        readonly bint has_run


cdef class Exchange:
    cdef:
        # The gate that its calls pass (`gate.Gate`); what the protocol is called, and by method the counters of calls
        # that came by it; None: those of their routes.
        readonly object gate
        readonly str protocol
        dict counters

        # Who the peer proved to be, or None; whether it may ask which services there are.
        public object identity
        public bint reveals_services

        # Whether nobody waits for answers any more.
        readonly bint is_closed

        # Instants: of what is handled now, of the last read, of the last turn that was not a read; when the handler
        # that ran last gave the loop back, and when one ended. Whether a read is handled, whose end leaves the current task.
        uint64_t now
        uint64_t received_ns
        uint64_t turn_ns
        uint64_t stepped_ns
        uint64_t ended_ns
        bint is_reading

        # How many calls an engine in Python began.
        uint64_t begun

        # Calls whose handlers go on beyond their first turn, and calls that wait for their start, in order.
        set held
        object queue

        # Why requests take the slow way in (Hold); whether the exchange has a place in the next turn.
        readonly int holding
        bint is_in_turn

        # Behind a stall: when the socket was last seen empty; looks taken, and the last read at the one before.
        uint64_t dated_ns
        uint64_t seen_read_ns
        int looks

        # What is counted for this connection: its requests, its calls' records, its output, what it sent and waits for a
        # turn of the loop, its stream messages that nobody took. The largest piece of a request that may arrive beyond them.
        readonly int64_t request_held
        int64_t record_held
        int64_t output_held
        int64_t tail_held
        int64_t stream_held
        int64_t piece_bytes

        # What the peer takes of an answer.
        public uint64_t max_message
        public uint32_t max_metadata

        # Whether the connection is to end, and the event that says so, made on first use.
        bint is_draining
        object drain_signal

    # What an engine implements; in Python it overrides `answer`, `fail`, `refuse`, `hold`, `release`.
    cdef int send_answer(self, Call call, bytes payload) except -1
    cdef int send_failure(self, Call call, Failure failure) except -1
    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1
    cdef int list_call(self, Call call) except -1
    cdef int drop_one_way(self, Call call) except -1

    # The same for streams, which only compiled engines have.
    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1
    cdef int send_head(self, Call call, bytes metadata) except -1
    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1
    cdef bint output_is_full(self) noexcept
    cdef int await_output(self, Call call) except -1

    # What it may know better.
    cdef uint64_t most_message(self) noexcept
    cdef uint32_t most_metadata(self) noexcept
    cdef bint takes_codec(self, Call call) except -1
    cdef bytes compressed(self, Call call, object compressor, bytes payload)
    cdef bint waits_for_turn(self) noexcept
    cdef int look_by(self, uint64_t due_ns) except -1
    cdef int end_turn(self) except -1
    cdef int crash(self, object error) except -1

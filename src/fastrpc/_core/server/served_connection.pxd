"""The served connection: the state of one connection for the gate, and what the gate asks of it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.link.contract cimport ContractGroups, Dialect, Flow, Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal

cdef enum Hold:
    # Reasons for the slow path of a request. After a stall of the loop: the sockets are read first.
    HOLD_STALL = 1
    # More output waits than `Memory.send_soft`.
    HOLD_OUTPUT = 2
    # `Memory.request_bytes` is nearly used up: each request is compared with the rest.
    HOLD_REQUESTS = 4
    # The connection drains: further requests are refused.
    HOLD_DRAIN = 8
    # Earlier calls are about to start: a new one comes after them.
    HOLD_QUEUE = 16
    # The input being read waited for its turn.
    HOLD_LATE = 32

cdef enum:
    # Bytes of a call record: its objects, its coroutine, its task (PROTOCOL.md, "Memory").
    CALL_RECORD = 3072

# The flow of connections without streams: each of its methods raises.
cdef Flow NO_FLOW

# The groups of calls by protocols without a dialect, forms, streams and handling.
cdef ContractGroups PLAIN_GROUPS

# Return the marshal of a method for a codec. The gate is the server's (`gate.Gate`).
cdef Marshal marshal_by_codec(MethodRoute route, int codec, object gate)

# The bytes that all connections of this process hold: requests, call records, output, deferred reads.
cdef int64_t process_held

# Add to the bytes that all connections hold, and return the new sum.
cdef int64_t hold_bytes(int64_t change) noexcept

# Log an error of the server, though the log itself may raise.
cdef int report(str text, object error) except -1

# Raise an interrupt that failed a call again, from a separate callback; other errors have no effect.
cdef int pass_interrupt(object loop, object error) except -1


cdef class ServedConnection:
    cdef:
        # The gate of its calls (`gate.Gate`); the name of the protocol, and the protocol's counters by method, or None
        # for the counters of the routes.
        readonly object gate
        readonly str protocol
        dict counters

        # The protocol's part in its calls. An object without state serves all connections: it finds the connection by
        # the call. Calls of pages on a connection of gRPC have other groups.
        Outcomes outcomes
        ContractGroups groups

        # Whether each answer has a head and trailers, which may repeat a key, as in gRPC: the head may be sent at any
        # time before the answer, by `send_head`, and `Call.sent_metadata` are the trailers.
        readonly bint has_trailers

        # Whether payloads are values, not arrays of arguments (`assigned_numbers.VALUE_CODECS`).
        bint takes_values

        # The peer's identity, or None; its proved name, which it keeps; the expiry of its credential, 0 = never. The
        # decisions about its calls by method (Access), and the generation of the files behind them.
        public object identity
        str proven_name
        readonly uint64_t expires_ns

        # The earliest expiry of the credentials of single calls under way; 0: none expires.
        uint64_t own_due_ns

        dict answers
        uint64_t generation

        # The key of the peer under limits (`limiting.limiters.key_of`), 0 until the first use.
        uint64_t peer_key

        # Whether the peer may list the services.
        public bint reveals_services

        # Whether its calls are messages of a broker, which have no caller with rights and codecs.
        bint delivers

        # The peer, for handlers and logs; None until an engine knows it.
        public object peer_info

        # The peer as calls of other protocols than the connection's show it, by protocol; None: no call has shown it.
        dict peers

        # Whether the peer has disconnected, so that answers are dropped; whether its credential has expired.
        readonly bint is_closed
        readonly bint is_expired

        # Instants: of the work handled now, of the last read, of the last turn without a read.
        uint64_t now
        uint64_t received_ns
        uint64_t turn_ns
        # The instants of the last return of a handler to the loop, and of the last end of a handler.
        uint64_t stepped_ns
        uint64_t ended_ns

        # The instant of the next early flush of this read's answers.
        uint64_t flush_due_ns

        # The number of calls begun by an engine in Python.
        uint64_t begun

        # Calls whose handlers outlast their first turn, and calls that wait for their start, in order.
        set held
        object queue

        # The reasons why requests take the slow path (Hold); whether the connection has a slot in the next turn.
        readonly int holding
        bint is_in_turn
        # Whether a read is being handled; its end leaves the current task.
        bint is_reading
        # Decompression (memory_budget.Room): the number of requests being decompressed.
        int rooms

        # With HOLD_LATE, the arrival time of the present input (`io/receive_tail`).
        uint64_t dated_ns

        # After a stall of the loop, which engines report by `StartTurns.hold_for_stall`: the instant at which the hold ends
        # although there may be more to read.
        uint64_t held_until_ns
        # If received bytes wait for their turn, the hold lasts longer, at the latest to this instant.
        uint64_t patient_until_ns
        # The last read before the last check; the bytes that requests held at the stall.
        uint64_t seen_read_ns
        int64_t stalled_held
        # The number of checks so far.
        int looks
        # Further checks for which the connection waits for its turn to handle input.
        int patience

        # Bytes counted for this connection, in the order of the fields: requests, call records, answers before they
        # enter the output, output, received bytes that wait for a turn of the loop, the part of an incomplete frame,
        # untaken stream messages. `piece_bytes`: the largest piece of a request that may arrive beyond these; set by
        # engines that receive requests in pieces.
        readonly int64_t request_held
        int64_t record_held
        int64_t answer_held
        int64_t output_held
        int64_t tail_held
        int64_t part_held
        int64_t stream_held
        int64_t piece_bytes

        # Bytes beyond `Memory.process_bytes` up to which begun messages continue; 0 for protocols without credit.
        int64_t grace_bytes

        # The bytes that requests being decompressed may take beyond the counted bytes.
        int64_t rooms_left
        # The received bytes of requests that are decompressed, or wait for decompression.
        int64_t rooms_packed
        # The bytes that stream messages may take once decompressed, until their handlers ask for the next one.
        int64_t rooms_kept

        # The most bytes of an answer that the peer accepts.
        public uint64_t max_message
        public uint32_t max_metadata

        # Whether the connection drains, and the event for it, made on first use.
        readonly bint is_draining
        object drain_signal

        # The next instant of `CallAdmission.look_at`; 0: none is scheduled.
        uint64_t look_due_ns

    cdef inline int64_t _sum(self) noexcept

    # The calls that count against `Limits.concurrent_calls`.
    cdef inline Py_ssize_t calls_under_way(self) except -1:
        return (0 if self.held is None else len(self.held)) + (0 if self.queue is None else len(self.queue))

    # The last resort, so that each call has an end. `tell_failure`: `Outcomes.fail`, with its errors caught. `answer_last`:
    # after an error in the answer, an unanswered call gets a bare failure; otherwise the connection is closed.
    cdef int tell_failure(self, Call call, Failure failure) except -1
    cdef int answer_last(self, Call call, object error, bint is_unanswered, bint has_run) except -1

    # For an expired credential: the streaming calls.
    cdef list streams_under_way(self)

    # The credential of the peer.
    cdef int expire(self) except -1
    cdef int prove(self, object identity, uint64_t expires_ns) except -1

    # The end of a read, after its messages were handled.
    cdef inline int read_ended(self) noexcept:
        self.is_reading = False
        self.flush_due_ns = 0
        self.holding &= ~<int>HOLD_LATE
        return 0

    cdef int check_size(self, Call call, str what, bytes payload, uint64_t own) except -1

    # Defaults that an engine may override.
    cdef uint64_t most_message(self) noexcept
    cdef uint32_t most_metadata(self) noexcept
    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1
    cdef bint takes_codec(self, Call call) except -1
    cdef int weigh_answer(self) except -1
    cdef int64_t cut_bytes(self) except? -1
    cdef int64_t passed_bytes(self) except? -1
    cpdef int return_credit(self) except -1
    cdef bint waits_for_turn(self) noexcept
    cdef int look_by(self, uint64_t due_ns) except -1
    cdef int end_turn(self) except -1
    cdef int crash(self, object error) except -1


cdef class PlainDialect(Dialect):
    pass

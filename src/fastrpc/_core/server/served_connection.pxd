"""The served connection: the state that the gate has of one connection, and the methods that the gate calls on it."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.link.contract cimport ContractGroups, Dialect, Flow, Outcomes
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal

cdef enum Hold:
    # Reasons for the slow path of a request. The loop was stalled, and the sockets are read first.
    HOLD_STALL = 1
    # More bytes of output wait than `Memory.send_soft`.
    HOLD_OUTPUT = 2
    # `Memory.request_bytes` is nearly used up, so each request is compared with the rest.
    HOLD_REQUESTS = 4
    # The connection drains, and further requests are refused.
    HOLD_DRAIN = 8
    # Earlier calls are about to start, and a new call has to wait for them.
    HOLD_QUEUE = 16
    # The input being read waited for its turn.
    HOLD_LATE = 32

cdef enum:
    # The bytes counted for the record of a call: its objects, coroutine and task (PROTOCOL.md, "Memory").
    CALL_RECORD = 3072

# The flow of connections without streams. Each of its methods raises.
cdef Flow NO_FLOW

# The groups of calls by protocols without a dialect, forms, streams and handling.
cdef ContractGroups PLAIN_GROUPS

# Return the marshal of a method for a codec. `gate` is the server's `gate.Gate`.
cdef Marshal marshal_by_codec(MethodRoute route, int codec, object gate)

# The bytes that all connections of this process hold: requests, call records, output, deferred reads.
cdef int64_t process_held

# Add `change`, which may be negative, to the bytes that all connections hold, and return the new sum.
cdef int64_t hold_bytes(int64_t change) noexcept

# Log an error of the server. An error of the log itself is ignored.
cdef int report(str text, object error) except -1

# If the error that failed a call is an interrupt, raise it again from a separate callback. Ignore other errors.
cdef int pass_interrupt(object loop, object error) except -1


cdef class ServedConnection:
    cdef:
        # `gate`: the gate of the calls (`gate.Gate`); `protocol`: the name of the protocol; `counters`: the protocol's
        # counters by method, or None if the counters of the routes are used.
        readonly object gate
        readonly str protocol
        dict counters

        # The protocol's part in the connection's calls: objects without state, which serve all connections and find the
        # connection by the call. Calls of pages on a connection of gRPC have other `groups`.
        Outcomes outcomes
        ContractGroups groups

        # Whether each answer has a head and trailers, which may repeat a key, as in gRPC. The head may be sent at any time
        # before the answer (`Flow.head`); `Call.sent_metadata` are then the trailers.
        readonly bint has_trailers

        # Whether a payload is one value instead of an array of arguments (`assigned_numbers.VALUE_CODECS`).
        bint takes_values

        # `identity`: the peer's identity, or None. `proven_name`: the name that was proved first and must not change.
        # `expires_ns`: the instant at which the peer's credential expires, 0 = never.
        public object identity
        str proven_name
        readonly uint64_t expires_ns

        # The earliest expiry of separate credentials of calls in progress, 0 = none expires.
        uint64_t own_due_ns

        # `answers`: the decisions of Access about calls, by method, or None; `generation`: the generation of the files
        # from which they were made.
        dict answers
        uint64_t generation

        # The key by which limits count the peer (`limiting.limiters.key_of`), 0 before the first use.
        uint64_t peer_key

        # Whether the peer may list the services.
        public bint reveals_services

        # Whether the calls are messages of a broker. These have no caller, so neither rights nor codecs are checked.
        bint delivers

        # The description of the peer for handlers and logs; None until the engine knows the peer.
        public object peer_info

        # Descriptions of the peer for calls of other protocols than the connection's, by protocol, or None.
        dict peers

        # `is_closed`: whether the peer has disconnected, so that answers are dropped; `is_expired`: whether its
        # credential has expired.
        readonly bint is_closed
        readonly bint is_expired

        # Instants: of the work that is handled now (`now`), of the last read (`received_ns`), of the last turn without
        # a read (`turn_ns`).
        uint64_t now
        uint64_t received_ns
        uint64_t turn_ns
        # Instants: of the last return of a handler to the loop (`stepped_ns`), and of the last end of a handler
        # (`ended_ns`).
        uint64_t stepped_ns
        uint64_t ended_ns

        # The instant of the next early flush of this read's answers.
        uint64_t flush_due_ns

        # The number of calls started by an engine in Python.
        uint64_t begun

        # `held`: calls whose handlers did not end in their first turn of the loop. `queue`: calls that wait for their
        # start, in order. Each is None if there are none.
        set held
        object queue

        # `holding`: the reasons why requests take the slow path (bits of Hold); `is_in_turn`: whether `StartTurns.turn`
        # has the connection.
        readonly int holding
        bint is_in_turn
        # Whether a read is being handled. When the read ends, no handler's task stays the loop's current task.
        bint is_reading
        # The number of requests that are being decompressed (memory_budget.Room).
        int rooms

        # If `holding` has HOLD_LATE: the instant at which the current input arrived (`io/receive_tail`).
        uint64_t dated_ns

        # The instant at which the hold after a stall of the loop ends, even if there may be more to read. Engines report
        # stalls by `StartTurns.hold_for_stall`.
        uint64_t held_until_ns
        # If received bytes wait for their turn, the hold lasts longer, but not beyond this instant.
        uint64_t patient_until_ns
        # `seen_read_ns`: `received_ns` at the last check of the hold; `stalled_held`: the bytes that requests held when
        # the hold began.
        uint64_t seen_read_ns
        int64_t stalled_held
        # The number of checks of the hold so far.
        int looks
        # How many more checks may extend the hold because received bytes wait for their turn.
        int patience

        # Bytes counted for this connection, in the order of the fields: requests, call records, answers before they are in
        # the output, output, received bytes that wait for a turn of the loop, the part of an incomplete frame, stream
        # messages that the handler has not taken. `piece_bytes` is no counter: it is the largest piece of a request, set by
        # engines that receive requests in pieces.
        readonly int64_t request_held
        int64_t record_held
        int64_t answer_held
        int64_t output_held
        int64_t tail_held
        int64_t part_held
        int64_t stream_held
        int64_t piece_bytes

        # Incomplete messages may grow until the process holds this many bytes above `Memory.process_bytes`; 0 for protocols
        # without credit.
        int64_t grace_bytes

        # The bytes reserved for requests that are being decompressed and not counted yet.
        int64_t rooms_left
        # The compressed bytes of requests that are being decompressed, or wait for it.
        int64_t rooms_packed
        # The bytes reserved for decompressed stream messages, until their handlers ask for the next message.
        int64_t rooms_kept

        # The size limits that the peer sets for an answer (`max_message`), and for its metadata (`max_metadata`).
        public uint64_t max_message
        public uint32_t max_metadata

        # `is_draining`: whether the connection drains; `drain_signal`: the event that is set then, created on first
        # use.
        readonly bint is_draining
        object drain_signal

        # The instant of the next scheduled `CallAdmission.look_at`, 0 = none.
        uint64_t look_due_ns

    cdef inline int64_t _sum(self) noexcept

    # Return the number of calls that count against `Limits.concurrent_calls`.
    cdef inline Py_ssize_t calls_under_way(self) except -1:
        return (0 if self.held is None else len(self.held)) + (0 if self.queue is None else len(self.queue))

    # Fallbacks that end a call in any case. `tell_failure` calls `Outcomes.fail` and catches its errors. `answer_last`
    # handles an error of the answer: an unanswered call gets a minimal failure; otherwise the connection is closed.
    cdef int tell_failure(self, Call call, Failure failure) except -1
    cdef int answer_last(self, Call call, object error, bint is_unanswered, bint has_run) except -1

    # Return the streaming calls in progress, which end when their credential expires.
    cdef list streams_under_way(self)

    # Note that the peer's credential has expired, or that the peer has proved an identity.
    cdef int expire(self) except -1
    cdef int prove(self, object identity, uint64_t expires_ns) except -1

    # Called at the end of a read, after its messages were handled.
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

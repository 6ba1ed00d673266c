"""The contract of a protocol that a connection holds: the drawing is in the `.pyx`."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal


cdef struct Facts:
    # `is_busy`: whether a call is in progress. `is_receiving`: whether a message has arrived in part.
    bint is_busy
    bint is_receiving
    # The incomplete message. `began_ns`, `heard_ns`: the instants of its first and of its last byte. `received`: its
    # bytes so far.
    uint64_t began_ns
    uint64_t heard_ns
    int64_t received
    # `unsent`: the bytes of output that the peer has not received; `parked`: the part of them that waits in the wire
    # for the peer's credit.
    int64_t unsent
    int64_t parked


cdef class Outcomes:
    # The end of a call: its result, its failure, or its refusal. `is_faulty`: the call itself is wrong, a retry fails
    # too.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, int status, str text, bint is_faulty) except -1

    # `hold`: the call continues in a later turn. `release`: a one-way call has ended. `is_unanswered`: whether a
    # failure can still be sent for a call.
    cdef int hold(self, Call call) except -1
    cdef int release(self, Call call) except -1
    cdef bint is_unanswered(self, Call call) except -1

    # A deferred verdict about the sender of an incomplete request (`Verdict` of `server/engine_served_connection`).
    cdef int judged(self, Call call, int verdict) except -1


cdef class Placing:
    # Long payloads, which a socket writes into their final memory.
    cdef char* place(self, Py_ssize_t* room) except? NULL
    cdef int placed(self, Py_ssize_t size) except -1
    cdef object owner(self)
    cdef bint completes(self, Py_ssize_t size) except -1


cdef class Dialect:
    # The texts and numbers that a protocol writes for a call: error texts, the form of details, the compressor of the
    # answer.
    cdef str unknown_method(self, Call call, str method, object services)
    cdef str unknown_codec(self, Call call)
    cdef str unknown_compressor(self, Call call)
    cdef int corrupt_status(self, Call call) except -1
    cdef int unfit_status(self, Call call) except -1
    cdef bint has_status_details(self, Call call) except -1
    cdef int compressor(self, Call call, int number) except -1


cdef class Forms:
    # Calls of several protocols, or with several kinds of payloads, on one connection.
    cdef str protocol(self, Call call)
    cdef object peer(self, Call call)
    cdef Marshal marshal(self, Call call)
    cdef uint32_t most_metadata(self) noexcept
    cdef int check_sent(self, Call call, bytes metadata) except -1
    cdef int note_answer(self, Call call, int status, dict fields, object compress) except -1


cdef class Handling:
    # Calls that consist of more than one message each way.
    cdef object form_of(self, Call call)
    cdef int note_mistakes(self, Call call, bytes payload, str first) except -1
    cdef int hold(self, Call call) except -1
    cdef int leave_handler(self, Call call) except -1


cdef class Assembling:
    # Several requests that arrive in parts at the same time.
    cdef Py_ssize_t count(self) except -1
    cdef int admitted(self, Call call) except -1
    cdef int judged(self, Call call, int verdict) except -1
    cdef int end(self, str text) except -1


cdef class Pushing:
    # One-way calls from this side to the peer.
    cdef int push(self, Engine link, Call call) except -1


cdef class Flow:
    # Messages that handlers send.
    cdef int head(self, Call call, bytes metadata) except -1
    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1
    cdef bint is_full(self, Call call) noexcept
    cdef int await_turn(self, Call call) except -1
    cdef int room(self) except -1

    # Messages that handlers receive.
    cdef int taken(self, Call call, Py_ssize_t cost) except -1
    cdef int reader(self, Call call, bint waits) except -1
    cdef int end_early(self, Call call) except -1


cdef class ContractGroups:
    cdef:
        # If `forms` is None, the call has the codec of its method and the limits of its connection.
        readonly Dialect dialect
        Forms forms
        Flow flow
        Handling handling

    # Return these groups, with each argument that is not None in place of its group.
    cdef ContractGroups with_own(self, Dialect dialect, Forms forms, Flow flow, Handling handling)


cdef class Goodbye:
    # The announcement that the connection ends.
    cdef int drain(self, str text) except -1
    cdef bint is_told(self) except -1
    cdef int say(self, int reason, str text) except -1


cdef class Backlog:
    # Output that waits in the wire for credit or for its turn.
    cdef bint pump(self) except -1
    cdef int rest(self) noexcept
    cdef int turn_over(self) except -1
    cdef int64_t queued(self) except? -1
    cdef int64_t passed(self) except? -1
    cdef int64_t credit(self) except? -1


cdef class Wire:
    cdef:
        # Set before a link holds the wire. `protocol`: the name of the protocol; `takes_values`: whether payloads are
        # values, not arrays of arguments; `closes_on_refusal`: whether a call that is refused as unauthenticated ends
        # the connection.
        readonly str protocol
        readonly bint takes_values
        readonly bint closes_on_refusal

        # `outlasts_input`: whether the connection survives the end of the peer's input; `excludes_http`: whether no
        # request can begin like HTTP, so that the first bytes reveal an HTTP client.
        readonly bint outlasts_input
        readonly bint excludes_http

        # Interfaces that a protocol implements completely; None if it does not have one.
        readonly Placing placing
        readonly Dialect dialect
        readonly Forms forms
        readonly Assembling assembling
        readonly Pushing pushing
        readonly Flow flow
        readonly Goodbye goodbye
        readonly Backlog backlog

    # The connection.
    cdef int join(self, Engine link) except -1
    cdef int lost(self) except -1

    # Bytes in.
    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1

    # Outcomes of calls.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1

    # State and time.
    cdef int tell(self, Facts* facts) except -1
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef int forgive(self, uint64_t late) except -1


# Return the error for a method that a class does not implement.
cdef object lacking(object part, str method)

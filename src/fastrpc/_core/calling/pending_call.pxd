from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.framing.settings cimport WireNumbers


cdef class PendingCall(Call):
    cdef:
        # What the answer's codec and compressor stand for; set by whoever starts the call.
        WireNumbers numbers
        uint64_t message_limit

        # The payload of a request that may be sent before the server's SETTINGS are read, as long as it may have to be
        # sent again (`send_again`).
        bytes early_request

        # The answer once it came: the payload and how to read it, or the error. `is_settled` says which turn we are in.
        bytes answer
        object failure
        uint32_t server_microseconds
        uint8_t answer_codec
        uint8_t answer_compressor
        # Truth values of a byte each, as in Call.
        uint8_t is_settled

        # Whether it was counted as started and not yet as ended. What an answer counts as is known once it is decoded;
        # one that nobody reads counts as OK.
        uint8_t is_counted
        uint8_t is_inside_retry

        # Whether it only asks how the server is: what nobody but the engine wants keeps no connection open and wakes none.
        uint8_t is_probe

        # For the interceptors around it: what became of it, and whether an attempt may have reached a handler.
        public bint _may_have_run
        # Is told of each attempt: its number and its endpoint; None: nobody is.
        public object _on_attempt
        object outcome_status
        object outcome_error

        # Of an attempt, the instant at which its call began; 0 where the call is its own attempt.
        uint64_t began_ns

        # For `interception`: the call itself came to None; an interceptor called `proceed` and dropped what it returned.
        public bint _gave_none
        public bint _dropped_proceed
        uint64_t ended_ns

    cdef int settle(self) except -1
    cdef int message_came(self, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int head_came(self, bytes metadata) except -1
    cdef int may_send(self) except -1
    cdef int answer_came(self, Frame* frame, bytes payload, uint64_t now) except -1
    cdef int failed(self, object error) except -1
    cdef int forget(self, int status=*) except -1
    cdef int _count(self, int status, uint64_t now) except -1
    cdef int count_outcome(self, int status) except -1
    cdef int count_unread(self) except -1
    cdef object value(self)
    cdef object _decoded(self)
    cdef object compressor_of_answer(self)
    cdef object _error_of(self, Frame* frame, bytes payload)
    cdef bint _is_late(self) noexcept
    cdef object _refusal_of(self, Frame* frame, bytes payload, int status, str text, object retry_after)

cdef int mark_own(object error) except -1
cdef object unstarted_error(Connection connection, object endpoint, Call call)
cdef object lost_error(Connection connection, object endpoint, Call call, bint handed, str why)
cdef object overdue_error(PendingCall call, object endpoint, bint handed)
cdef int keep_early(Connection connection, PendingCall call, bytes payload) except -1
cdef bint send_again(Connection connection, PendingCall call, Frame* frame) except -1
cdef int check_request(Connection connection, Call call, bytes payload) except -1
cdef int check_message(Connection connection, Call call, bytes payload) except -1

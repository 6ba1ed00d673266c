"""Admission to a server: which calls start, wait for their start, or are refused."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.server.handler_context cimport SharedContext
from fastrpc._core.server.memory_budget cimport MemoryBudget
from fastrpc._core.server.refused_calls cimport RefusedCalls
from fastrpc._core.server.served_call cimport ServerCall, WaitingCalls
from fastrpc._core.server.served_connection cimport ServedConnection


# The steps of `ServedConnection.gate` that parts of the gate call through the connection of a call.
cdef class LaterSteps:
    # `start` continues a call that waited for its start, `let_in` a call that waited for the verdict on its caller.
    cdef int start(self, ServerCall call, bytes payload) except -1
    cdef int let_in(self, ServerCall call, uint64_t names, bytes payload) except -1


@cython.final
cdef class CallAdmission:
    cdef:
        # `memory`: the budgets for bytes that connections hold; `refusals`: the part that refuses calls.
        MemoryBudget memory
        RefusedCalls refusals

        # `waiting`: the number of calls, of all connections, that wait for their start; `prioritised`: how many of
        # these have another priority than 0.
        readonly Py_ssize_t waiting
        readonly WaitingCalls prioritised
        # `Admission.queue_length` and `Admission.queue_age`.
        Py_ssize_t queue_length
        uint64_t queue_age_ns

        # Until this instant calls that waited for half of their time are refused, because others expired unstarted.
        uint64_t sheds_until_ns

        # The contexts (contextvars) in which waiting requests were read.
        SharedContext _contexts

        # `_told`: the last refusal text for a call that waited too long. The other fields are the values in this text.
        str _told
        str _told_method
        uint64_t _told_waited_ns
        uint64_t _told_timeout_ns

    cdef str over_budget(self, ServerCall call, Py_ssize_t size, bint is_new)
    cdef bint has_room(self, ServerCall call, bytes payload) except -1
    cdef bint has_room_for(self, ServerCall call, Py_ssize_t size, bint is_new) except -1
    cdef bint may_start(self, ServerCall call, bytes payload) except -1
    cdef int drop_waiting(self, ServerCall call, uint64_t now=*) except -1
    cdef int drop_all_waiting(self, ServedConnection connection) except -1
    cdef uint64_t aged_at(self, ServedConnection connection) except? 0
    cdef int refuse_aged(self, ServedConnection connection, uint64_t now) except -1
    cdef int note_expired(self, ServerCall call) noexcept
    cdef bint is_stale(self, ServerCall call, uint64_t since, uint64_t now) except -1
    cdef uint64_t check_waiting(self, ServedConnection connection, uint64_t now) except? 0
    cdef int _enqueue(self, ServerCall call, bytes payload) except -1
    cdef str _told_wait(self, str method, uint64_t waited, uint64_t timeout)

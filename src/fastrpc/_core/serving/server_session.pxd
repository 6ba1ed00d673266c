from libc.stdint cimport uint64_t

from fastrpc._core.serving.admission cimport GuardedSession
from fastrpc._core.calls.call cimport Call, Route
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.native.outgoing cimport Outgoing
from fastrpc._core.serving.served_call cimport ServerCall, ServerState, ServerTask


cdef class ServerSession(GuardedSession):
    cdef:
        readonly ServerState state

        # Calls whose handlers go on beyond their first turn.
        set held

        # When the answers of this read that are written by then are to leave.
        uint64_t flush_due_ns

        # Made on first use.
        object peer_info

    cdef int _gate(self, ServerCall call, Frame* frame, bytes payload) except -1
    cdef int _refuse_unknown(self, ServerCall call, Frame* frame, Py_ssize_t size) except -1
    cdef int _admit(self, ServerCall call, bytes payload) except -1
    cdef bint _decode(self, ServerCall call, bytes payload) except -1
    cdef int run(self, ServerCall call) except -1
    cdef bint _may_answer(self, ServerCall call) except -1
    cdef int watch(self, ServerCall call) except -1
    cdef int unwatch(self, ServerCall call) except -1
    cdef int _flush_early(self) except -1
    cdef bytes _packed(self, ServerCall call, bytes payload)
    cdef int _check_size(self, ServerCall call, bytes payload) except -1
    cdef int _refuse_names(self, ServerCall call, Py_ssize_t count) except -1
    cdef int _reject(self, ServerCall call, object error) except -1
    cdef int _send_metadata(self, ServerCall call) except -1
    cdef bytes _fitting(self, ServerCall call, bytes details)
    cdef int _run_task(self, ServerCall call, object coroutine) except -1
    cdef int _fail_start(self, ServerCall call, ServerTask task, object context, object failure) except -1
    cdef int _go_on(self, ServerCall call, object context) except -1
    cdef int _end_first_step(self, ServerCall call, ServerTask task, object context) except -1
    cdef int finish(self, ServerCall call, object value) except -1
    cdef bytes _encoded(self, ServerCall call, object value)
    cdef int fail(self, ServerCall call, object error) except -1
    cdef int _pass_interrupt(self, object error) except -1
    cdef int _answer_failure(self, ServerCall call, object error) except -1
    cdef Outgoing _failure_of(self, ServerCall call, object error)
    cdef int _count_end(self, ServerCall call, int status) except -1

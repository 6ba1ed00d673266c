"""The two parts of a connection that handle calls: one serves the peer's calls, the other makes ours."""

from cpython.object cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.wire.frame cimport Frame


cdef class ServingPart:
    cdef:
        # The connection, borrowed; NULL after it was freed.
        PyObject* owner

    cdef object connection_of(self)

    # Called by the states of calls.
    cdef Call new_call(self)
    cdef int on_begun(self, Call call, Frame* frame) except -1
    cdef int on_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_end(self, Call call) except -1
    cdef int on_sendable(self, Call call) except -1
    cdef int on_cancel(self, Call call, int reason) except -1
    cdef int on_refused(self, Call call, int status, str text) except -1
    cdef int on_ended(self, Call call) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1
    cdef int on_piece(self, Call call) except -1
    cdef int on_cut(self, Py_ssize_t change) except -1
    cdef bint on_stuck(self, Call call, str text) except -1

    # Called by the connection.
    cdef str on_part(self, Frame* frame, Py_ssize_t size)
    cdef int on_part_ended(self, bint is_over) except -1
    cdef int on_cut_request(self) except -1
    cdef int on_made(self) except -1
    cdef int on_read(self) except -1
    cdef int on_stall(self) except -1
    cdef int on_tail(self, Py_ssize_t change) except -1
    cdef int on_flushed(self) except -1
    cdef bint withholds(self, Frame* frame) noexcept
    cdef bint may_lend(self) noexcept
    cdef uint64_t check(self, uint64_t now) except? 0
    cdef int end_calls(self, str text) except -1
    cdef int on_drain(self) except -1
    cdef int on_closed(self) except -1
    cdef int on_lost(self, object error) except -1


cdef class NativeCalling(CallingPart):
    # Called by the states of calls.
    cdef int on_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int on_message(self, Call call, Frame* frame, bytes payload, Py_ssize_t cost) except -1
    cdef int on_head(self, Call call, bytes metadata) except -1
    cdef int on_sendable(self, Call call) except -1
    cdef int on_local_end(self, Call call, int status, str text) except -1
    cdef int on_unsendable(self, Call call, object error) except -1
    cdef int on_not_started(self, Call call) except -1

    # Called by the connection, which also sets the limits of both sides. `stop`: no new calls may be sent. `fail_all`:
    # all calls are over.
    cdef int stop(self) except -1
    cdef int fail_all(self, str why, bint leaves) except -1

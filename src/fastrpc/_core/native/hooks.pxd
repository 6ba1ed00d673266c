"""The interfaces through which parts of a native connection call other parts and the connection's side."""

from cpython.object cimport PyObject

from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport Call
from fastrpc._core.wire.frame cimport Frame


cdef class ConnectionPart:
    cdef:
        # The connection that holds this part, borrowed; NULL after it was freed (parts_owner).
        PyObject* owner


cdef class FrameHandler(ConnectionPart):
    # For the reader.
    cdef Py_ssize_t on_opening(self, const char* data, Py_ssize_t size) except -1
    cdef int on_frame(self, Frame* frame, bytes payload) except -1
    cdef Assembly sink_for(self, Frame* frame)


cdef class CalleeHooks(ConnectionPart):
    # For the assembler.
    cdef int whole_request(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_served(self, Call call, int status, str text) except -1

    # For the sender.
    cdef int answered(self, Call call) except -1
    cdef int answer_waits(self, Call call) except -1


cdef class CallerHooks(ConnectionPart):
    # For the assembler.
    cdef int whole_response(self, Call call, Frame* frame, bytes payload) except -1
    cdef int end_called(self, Call call, int status, str text, int reason) except -1

    # For the sender.
    cdef int begin_call(self, Call call) except -1
    cdef int give_up(self, Call call, int reason) except -1
    cdef int was_unsent(self, Call call) except -1


cdef class Side:
    cdef:
        # The connection, borrowed: it holds this object, and clears the pointer when it is freed.
        PyObject* holder

    cdef int on_ready(self) except -1

    # Of a client.
    cdef int on_forgotten(self, Call call) except -1
    cdef int on_ids_used_up(self) except -1
    cdef int on_crowd(self) except -1
    cdef int on_peer_drains(self) except -1
    cdef int on_verdict(self) except -1

    # Of a server.
    cdef int on_stranger(self, str text, bytes first) except -1
    cdef bint on_credential(self, Frame* frame) except -1
    cdef int on_drained(self) except -1

from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.wire.frame cimport Frame


cdef class RecordedCall(Call):
    cdef:
        # It was answered, or its END was sent: nothing more of it is to be sent.
        bint is_finished


cdef class RecordingConnection(Connection):
    cdef:
        # Events not returned yet, the beginning of an incomplete frame, and the bytes of complete frames.
        readonly list events
        bytes tail
        readonly uint64_t consumed

        # Whether what credit allows is written at once, or when it is asked for; whether it is kept at present.
        public bint sends_at_once
        public bint is_blocked
        # The stream below, which is stuck while output is kept.
        ByteStream below

        # The number of discarded frames.
        uint64_t discards

        # Stream messages that were not taken, by call id: (call, cost); routes by method name.
        dict untaken
        dict routes

    cdef Py_ssize_t _receive_directly(self, bytes data) except -1
    cdef int _emit(self, tuple event) except -1
    cdef tuple _control_event(self, Frame* frame)
    cdef int _flush(self) except -1
    cdef MethodRoute _route_to(self, bytes method)
    cdef RecordedCall _call_of(self, object which)
    cdef RecordedCall _open_call_of(self, object which, str action)
    cdef RecordedCall _answerable(self, object which, str action)

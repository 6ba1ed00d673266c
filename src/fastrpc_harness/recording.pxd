from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call, MethodRoute
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.wire.frame cimport Frame


cdef class RecordedCall(Call):
    cdef:
        # Whether nothing more is to be sent for the call: it was answered, or its END was sent.
        bint is_finished


cdef class RecordingConnection(Connection):
    cdef:
        # `events`: events that were not returned yet. `tail`: the beginning of an incomplete frame. `consumed`: bytes
        # of complete frames.
        readonly list events
        bytes tail
        readonly uint64_t consumed

        # `sends_at_once`: whether messages are written immediately as far as credit allows, or only by `data_to_send`.
        # `is_blocked`: whether output is held at present.
        public bint sends_at_once
        public bint is_blocked
        # The stream below, which accepts no output while `is_blocked` is set.
        ByteStream below

        # The number of discarded frames.
        uint64_t discards

        # `untaken`: (call, cost) of stream messages that were not taken, by call id. `routes`: routes by method name.
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

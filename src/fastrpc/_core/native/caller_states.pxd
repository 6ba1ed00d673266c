cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.hooks cimport CallerHooks
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class CallerStates(CallerHooks):
    cdef:
        # The owner of this part: borrowed, NULL once it was freed (parts_owner). The parts with which this part works.
        PyObject* owner
        FrameReader reader
        MessageAssembler assembler
        CallSlots slots

        # Unfinished cut RESPONSEs.
        readonly int open_responses

    cdef int response(self, Frame* frame, bytes payload) except -1
    cdef int head(self, Frame* frame) except -1
    cdef int data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int forget(self, Call call) except -1

    cdef int _begin_response(self, Call call, Frame* frame) except -1
    cdef int _given_up_data(self, Call call, Frame* frame) except -1
    cdef int _check_received(self, Frame* frame) except -1
    cdef int _tell_end(self, Call call, int status, str text) except -1
    cdef str _metadata_text(self)
    cdef str _answer_text(self, uint64_t size)

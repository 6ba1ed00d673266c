cimport cython
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
        # The parts with which this part works.
        FrameReader reader
        MessageAssembler assembler
        CallSlots slots

        # The number of RESPONSEs in several frames that are incomplete.
        readonly int open_responses

    cdef int response(self, Frame* frame, bytes payload) except -1
    cdef int head(self, Frame* frame) except -1
    cdef int data(self, Call call, Frame* frame, bytes payload) except -1
    cdef int forget(self, Call call) except -1

    cdef int _begin_response(self, Call call, Frame* frame) except -1
    cdef int _given_up_data(self, Call call, Frame* frame) except -1
    cdef str _metadata_problem(self, Frame* frame, int* status)
    cdef str _answer_text(self, uint64_t size)

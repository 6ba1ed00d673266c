from fastrpc._core.base.buffer cimport Assembly
from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.caller_states cimport CallerStates
from fastrpc._core.native.control_frames cimport ControlFrames
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue
from fastrpc._core.wire.frame cimport Frame


cdef class RecordingOwner(PartsOwner):
    cdef:
        # `events`: events of the parts, in order. `part_events`: events of the reader about incomplete frames.
        readonly list events
        readonly list part_events

        # The parts; None if the test did not ask for a part.
        readonly FrameReader reader
        readonly MessageAssembler assembler
        readonly SendQueue sender
        readonly CallSlots slots
        readonly CalleeStates callee
        readonly CallerStates caller
        readonly ControlFrames control

        # `calls`: the calls of frames, by id. `opening_left`: bytes of the opening that have not arrived yet.
        # `rounds_left`: how often reading continues.
        dict calls
        public Py_ssize_t opening_left
        public Py_ssize_t rounds_left

        # The reason why no further part of a frame is accepted, or None.
        public str why_full

    cdef int _make_parts(self, tuple parts) except -1
    cdef int _make_hooks(self) except -1
    cdef Py_ssize_t _take_opening(self, const char* data, Py_ssize_t size) except -1
    cdef int _take_frame(self, Frame* frame, bytes payload) except -1
    cdef Assembly _sink_for(self, Frame* frame)
    cdef Call _call_of(self, Frame* frame)
    cdef int _assemble(self, Call call, Frame* frame, bytes payload) except -1
    cdef bint _pass_on(self, Frame* frame, bytes payload) except -1


# Return an output as one bytes object.
cdef bytes joined(object output)

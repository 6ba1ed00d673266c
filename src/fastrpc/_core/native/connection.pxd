from fastrpc._core.native.call_slots cimport CallSlots
from fastrpc._core.native.callee_states cimport CalleeStates
from fastrpc._core.native.caller_states cimport CallerStates
from fastrpc._core.native.control_frames cimport ControlFrames
from fastrpc._core.native.frame_reader cimport FrameReader
from fastrpc._core.native.frame_router cimport FrameRouter
from fastrpc._core.native.hooks cimport Side
from fastrpc._core.native.liveness cimport Liveness
from fastrpc._core.native.message_assembler cimport MessageAssembler
from fastrpc._core.native.parts_owner cimport PartsOwner
from fastrpc._core.native.send_queue cimport SendQueue


cdef class Connection(PartsOwner):
    cdef:
        # Its parts.
        readonly FrameReader reader
        readonly MessageAssembler assembler
        readonly CalleeStates callee
        readonly CallerStates caller
        readonly CallSlots slots
        readonly SendQueue sender
        readonly ControlFrames control
        readonly Liveness liveness
        FrameRouter router

    # Set its `Side`, once.
    cdef int take_side(self, Side side) except -1

    # End the stream and the calls. Return whether the peer of an ended connection has, or may still get, a REQUEST.
    cdef int end_stream(self) except -1

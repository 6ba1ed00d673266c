"""A layer between a transport of a loop and the protocol above it."""

from fastrpc._core.loop.loop_state cimport LoopState


cdef class Layer:
    cdef:
        readonly LoopState loop_state

        # The transport below, None before it is connected; where it receives.
        readonly object transport
        object _place

        # The protocol above, None before there is one and once the transport is gone.
        object _protocol

        # Whether the protocol above wants no bytes for now; whether handing over what waits for it is scheduled.
        bint is_paused
        bint _is_scheduled

    cdef int rest_in(self, loop) except -1
    cdef int hand_over(self) except -1
    cdef int hand_over_soon(self) except -1

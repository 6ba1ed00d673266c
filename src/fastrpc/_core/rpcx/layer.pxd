"""A stream that speaks rpcx below, and the native protocol above."""

from fastrpc._core.loop.loop_state cimport LoopState
from fastrpc._core.rpcx.translation cimport RpcxTranslation


cdef class RpcxLayer:
    cdef:
        # The stream above, and what translates for it; None once the transport is gone.
        readonly object stream
        readonly RpcxTranslation translation
        readonly LoopState loop_state

        # The transport below; where it receives.
        readonly object transport
        object _place

        # Why the stream below ended, where the transport does not tell.
        str _ending

        # Bytes for the stream above that it has no place for yet; whether it wants none now; whether handing over is
        # scheduled, or under way.
        object _waiting
        bint is_paused
        bint _is_scheduled
        bint _is_handing_over

    cdef int _hand_over(self) except -1
    cdef int _send(self) except -1
    cdef int _hand_over_soon(self) except -1

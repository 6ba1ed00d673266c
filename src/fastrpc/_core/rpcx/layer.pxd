"""A stream that speaks rpcx below, and the native protocol above."""

from fastrpc._core.io.layer cimport Layer
from fastrpc._core.rpcx.translation cimport RpcxTranslation


cdef class RpcxLayer(Layer):
    cdef:
        # The translation for the stream above.
        readonly RpcxTranslation translation

        # Why the stream below ended, where the transport does not tell.
        str _ending

        # Bytes for the stream above that it has no place for yet; whether handing over is under way.
        object _waiting
        bint _is_handing_over

    cdef bint _is_put_off(self) noexcept
    cdef int _send(self) except -1

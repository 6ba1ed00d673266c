"""Streams that speak rpcx below, and the native protocol above: of a loop, and of a blocking client."""

from fastrpc._core.io.blocking_io cimport LayeredIO
from fastrpc._core.io.layer cimport Layer
from fastrpc._core.rpcx.translation cimport RpcxTranslation


cdef class RpcxLayer(Layer):
    cdef:
        # The translation for the stream above.
        readonly RpcxTranslation translation

        # The reason why the stream below ended, if the transport does not report it.
        str _ending

        # Bytes for the stream above for which it has no place yet; whether passing on is under way.
        object _waiting
        bint _is_handing_over

    cdef bint _is_put_off(self) noexcept
    cdef int _send(self) except -1


cdef class RpcxBlockingIO(LayeredIO):
    cdef:
        # The translation of the bytes of the connection; used with the lock held.
        readonly RpcxTranslation translation

        # Where bytes of the server are received.
        bytearray _block

        # Bytes for the connection above that it has not received, from `_up_at` on. Whether further ones follow once
        # another thread sends credit.
        bytes _up
        Py_ssize_t _up_at
        bint _waits_for_credit

        # Whether the server sent bytes that are not rpcx: only earlier bytes are received.
        bint _is_broken

    cdef Py_ssize_t _hand_over(self, char* place, Py_ssize_t room) except? -1

"""rpcx below a connection of a blocking client."""

from fastrpc._core.io.blocking_io cimport LayeredIO
from fastrpc._core.rpcx.translation cimport RpcxTranslation


cdef class RpcxBlockingIO(LayeredIO):
    cdef:
        # The translation of the bytes of the connection; used with the lock held.
        readonly RpcxTranslation translation

        # Where bytes of the server are received.
        bytearray _block

        # Bytes for the connection above that it has not received, from `_up_at` on. Whether further ones come once another
        # thread sends credit.
        bytes _up
        Py_ssize_t _up_at
        bint _waits_for_credit

        # Whether the server sent what is no rpcx: only what came before it is received.
        bint _is_broken

    cdef Py_ssize_t _hand_over(self, char* place, Py_ssize_t room) except? -1

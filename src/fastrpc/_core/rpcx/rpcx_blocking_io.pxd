"""rpcx below a connection of a blocking client."""

from fastrpc._core.io.blocking_io cimport BlockingIO, LockedIO
from fastrpc._core.rpcx.translation cimport RpcxTranslation


cdef class RpcxBlockingIO(LockedIO):
    cdef:
        # The bytes of the connection, owned, and what translates them; used with the lock held.
        readonly BlockingIO below
        readonly RpcxTranslation translation

        # Where bytes of the server are received.
        bytearray _block

        # Bytes for the connection above that it has not received, from `_up_at` on. Whether there are such; whether
        # further ones come once another thread sends credit.
        bytes _up
        Py_ssize_t _up_at
        bint _has_more
        bint _waits_for_credit

        # Bytes for the server that the system did not take yet, from `_down_at` on. `_owes`: the last byte among them was
        # reported as not sent, so that the caller comes again; it is skipped then.
        bytes _down
        Py_ssize_t _down_at
        bint _owes

        # Whether the server sent what is no rpcx: only what came before it is received.
        bint _is_broken

    cdef Py_ssize_t _receive(self, char* place, Py_ssize_t room) except? -1
    cdef Py_ssize_t _hand_over(self, char* place, Py_ssize_t room) except? -1
    cdef int _look(self) except -1
    cdef Py_ssize_t _send(self, const char* data, Py_ssize_t size) except? -1
    cdef Py_ssize_t _flush(self) except? -1
    cdef Py_ssize_t _break(self, object error) noexcept

cimport cython

from fastrpc._core.io.client_life cimport ClientLife
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.native.hooks cimport Side


cdef class ClientConnection(Connection)


@cython.final
cdef class ClientSide(Side):
    cdef inline ClientConnection connection(self):
        # The caller of this method is the connection, or a part of it.
        return <ClientConnection>self.holder

    cdef int refuse_calls(self) except -1
    cdef int retire(self) except -1
    cdef int close_when_idle(self) except -1
    cdef bint is_leaving(self) noexcept


@cython.final
cdef class ClientConnection(Connection):
    cdef:
        # `decisions`: `side`, typed; `credential`: the token to present before the first call, or None.
        ClientSide decisions
        bytes credential

        # Whether the peer's SETTINGS have arrived.
        readonly bint is_ready

        # The rules of the connection's opening, age and rest, with its owner.
        readonly ClientLife life

cimport cython

from fastrpc._core.native.connection cimport Connection
from fastrpc._core.native.hooks cimport Side


cdef class ClientConnection(Connection)


@cython.final
cdef class ClientSide(Side):
    cdef:
        # Whether the connection ends as soon as no call is under way.
        bint is_retiring

    cdef inline ClientConnection connection(self):
        # The caller of this method is the connection, or a part of it.
        return <ClientConnection>self.holder

    cdef int retire(self) except -1
    cdef int close_when_idle(self) except -1
    cdef bint is_leaving(self) noexcept


@cython.final
cdef class ClientConnection(Connection):
    cdef:
        # `side` by its own type. The token to show before the first call, or None.
        ClientSide decisions
        bytes credential

        # The object that is notified of each event of its life (see the stub); whether the peer's SETTINGS have
        # arrived.
        readonly object owner
        readonly bint is_ready

        # Whether it is older than `Keepalive.max_age` and waits for its successor; whether only probes were sent on it,
        # or nothing for long.
        readonly bint is_aged
        readonly bint is_dispensable

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.native.connection cimport Connection
from fastrpc._core.native.hooks cimport Side
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_calls cimport ServedCalls


cdef class ServerConnection(Connection)


@cython.final
cdef class ServerSide(Side):
    cdef:
        # The server's connections that are still opening.
        Openings openings

        # `is_opening`: whether the connection is opening; `is_surplus`: whether it exceeds `Limits.connections`;
        # `pending_drain`: the reason of a drain that has to wait until the connection is open, -1 = none.
        bint is_opening
        bint is_surplus
        int pending_drain

        # `is_by_certificate`: whether the peer's identity was proved by its certificate; `replace_at_ns`: the instant
        # at which the connection has to be replaced because the certificate expires, 0 = never.
        bint is_by_certificate
        uint64_t replace_at_ns

    cdef inline ServerConnection connection(self):
        # Never NULL here, because the caller of this method is the connection or a part of it.
        return <ServerConnection>self.holder

    cdef inline ServedCalls served(self):
        """Return `serving` of the connection, typed."""
        return <ServedCalls?>(<ServerConnection>self.holder).serving

    cdef int begin(self) except -1
    cdef int leave_opening(self) except -1
    cdef bint awaits_opening(self, int reason) except -1
    cdef bint prove(self, object identity, uint64_t expires_ns, bint by_certificate, uint64_t generation) except -1
    cdef uint64_t check(self, uint64_t now) except? 0


@cython.final
cdef class ServerConnection(Connection):
    cdef inline ServerSide decisions(self):
        """Return `side`, typed."""
        return <ServerSide?>self.side

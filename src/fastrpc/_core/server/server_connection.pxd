from libc.stdint cimport uint64_t

from fastrpc._core.native.connection cimport Connection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.openings cimport Openings
from fastrpc._core.server.served_calls cimport ServedCalls


cdef class ServerConnection(Connection):
    cdef:
        # The same as `serving`, by its own type. The gate that all connections share; the connections in their opening.
        ServedCalls served
        readonly Gate gate
        readonly Openings openings

        # Whether it is opening; whether it is one too many; whether it was told to drain before it was open.
        bint is_opening
        bint is_surplus
        int pending_drain

        # Whether the peer's identity comes from its certificate, and the instant at which the connection is to be
        # replaced.
        bint is_by_certificate
        uint64_t replace_at_ns

    cdef int _trust_peer(self) except -1
    cdef int leave_opening(self) except -1
    cdef bint _peer_rests(self) noexcept
    cdef uint64_t _check_life(self, uint64_t now) except? 0
    cdef uint64_t _check_rest(self, uint64_t now) except? 0

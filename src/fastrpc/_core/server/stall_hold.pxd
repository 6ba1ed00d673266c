"""The hold of a connection's calls after a stall of the loop."""

from libc.stdint cimport uint64_t

from fastrpc._core.server.served_connection cimport ServedConnection


cdef int begin_hold(ServedConnection connection, uint64_t hold_ns) except -1
cdef bint is_caught_up(ServedConnection connection, uint64_t hold_ns, uint64_t now) except -1

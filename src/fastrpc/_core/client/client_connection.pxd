from fastrpc._core.native.connection cimport Connection


cdef class ClientConnection(Connection):
    cdef:
        # The object that is told of each event of its life (see the stub); whether the peer's SETTINGS came.
        readonly object owner
        readonly bint is_ready
        # The token to show before the first call, or None.
        bytes credential
        # Whether it is older than `Keepalive.max_age` and waits for its successor.
        readonly bint is_aged

        # Whether it ends as soon as nothing is under way; whether no call but probes went out on it, or none for long.
        bint is_retiring
        readonly bint is_dispensable

    cdef int _begin_retiring(self) except -1
    cdef bint _sent_only_probes(self) noexcept
    cdef int _close_when_idle(self) except -1
    cdef bint _is_leaving(self) noexcept
    cdef bint _has_served(self) noexcept

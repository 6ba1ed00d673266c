from fastrpc._core.native.connection cimport Connection


cdef class ClientConnection(Connection):
    cdef:
        # The object that is notified of each event of its life (see the stub); whether the peer's SETTINGS have
        # arrived.
        readonly object owner
        readonly bint is_ready
        # The token to show before the first call, or None.
        bytes credential
        # Whether it is older than `Keepalive.max_age` and waits for its successor.
        readonly bint is_aged

        # Whether it ends as soon as no call is under way; whether only probes were sent on it, or nothing for long.
        bint is_retiring
        readonly bint is_dispensable

    cdef int _begin_retiring(self) except -1
    cdef bint _sent_only_probes(self) noexcept
    cdef int _close_when_idle(self) except -1
    cdef bint _is_leaving(self) noexcept
    cdef bint _has_served(self) noexcept

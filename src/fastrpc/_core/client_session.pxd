from fastrpc._core.call cimport Call
from fastrpc._core.session cimport Session


cdef class ClientSession(Session):
    cdef:
        # Where it leads, and who is told how it fares: on_ready(session), on_draining(session), on_lost(session, error).
        readonly object endpoint
        readonly object owner
        # Whether calls may go out on it: connected, and the peer takes new ones.
        readonly bint is_usable
        readonly bint is_ready
        object lost_because

    cdef int start(self, Call call, bytes payload) except -1
    cdef int abandon(self, Call call, int reason) except -1
    cdef int _close_when_idle(self) except -1

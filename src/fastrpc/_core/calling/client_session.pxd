from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.session cimport Session


cdef class ClientSession(Session):
    cdef:
        # Where it leads, and who is told how it fares (see the stub).
        readonly object endpoint
        readonly object owner
        # Whether calls may go out on it: connected, and the peer takes new ones.
        readonly bint is_usable
        readonly bint is_ready
        # Whether it is older than `Keepalive.max_age` and waits for its successor.
        readonly bint is_aged

        # Whether it ends as soon as nothing is under way; whether nobody would miss it, since no call went out on it,
        # or none for long; whether the owner wants to hear of the next call.
        bint is_retiring
        readonly bint is_dispensable
        public bint announces_calls

    cdef int start(self, Call call, bytes payload) except -1
    cdef int send(self, Call call, bytes payload) except -1
    cdef int abandon(self, Call call, int reason) except -1
    cdef int _begin_retiring(self) except -1
    cdef int _close_when_idle(self) except -1


cdef ClientSession next_usable(list sessions, Py_ssize_t* turn)

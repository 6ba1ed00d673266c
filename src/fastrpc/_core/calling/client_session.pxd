from fastrpc._core.calls.call cimport Call
from fastrpc._core.io.session cimport Session


cdef class ClientSession(Session):
    cdef:
        # Its endpoint, and the owner of its callbacks (see the stub).
        readonly object endpoint
        readonly object owner
        # Whether it takes calls: it is connected, and the peer accepts new ones.
        readonly bint is_usable
        readonly bint is_ready
        # Whether it is older than `Keepalive.max_age` and waits for its successor.
        readonly bint is_aged

        # Whether it ends with the last call in flight; whether it is unused: without calls, or without any for long;
        # whether the owner gets `session_used` at the next call.
        bint is_retiring
        readonly bint is_dispensable
        public bint announces_calls

    cdef int start(self, Call call, bytes payload) except -1
    cdef int send(self, Call call, bytes payload) except -1
    cdef int abandon(self, Call call, int reason) except -1
    cdef int _begin_retiring(self) except -1
    cdef int _close_when_idle(self) except -1


cdef ClientSession next_usable(list sessions, Py_ssize_t* turn)

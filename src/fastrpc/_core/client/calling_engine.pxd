cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.python_engine cimport PythonEngine


@cython.final
cdef class PythonCalls(CallingPart):
    cdef CallingEngine engine(self)


cdef class CallingEngine(PythonEngine):
    cdef:
        # The name of its protocol.
        readonly str protocol

        # The object that is notified of the connection's life, None for threads; the credential to show, or None.
        readonly object owner
        readonly bytes credential

        # Whether the owner is to be notified of the next call.
        public bint announces_calls

        # The calls under way; the calls written so far, and those of them that the stream has.
        dict _calls
        uint64_t _written
        uint64_t _handed

        # The instants of its life, and its rules in nanoseconds, 0 = off.
        uint64_t _made_ns
        uint64_t _used_ns
        uint64_t _handshake_ns
        uint64_t _idle_ns
        uint64_t _age_ns

        # The reason of its close; whether it waits for its successor, ended for its age or rest, or was not used.
        readonly str closed_text
        readonly bint is_aged
        readonly bint is_spent
        readonly bint is_dispensable
        bint _is_retiring

        # The server's verdict on our credential, -1 before, and its text; whether it asks for another connection.
        readonly int auth_status
        readonly str auth_text
        readonly bint peer_replaces

        # The number of calls in flight that the owner is to be notified of, 0: none.
        Py_ssize_t _crowd

    cdef PythonCalls part(self)
    cdef bint _take(self, ClientCall call) except -1
    cdef int _refuse_calls(self) except -1
    cdef int _fail_all(self, str why, bint leaves) except -1
    cdef int _close_when_idle(self) except -1
    cdef uint64_t _check_rest(self, uint64_t now) except? 0

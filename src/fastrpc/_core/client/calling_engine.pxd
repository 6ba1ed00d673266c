cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.calling_part cimport CallingPart
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.client_life cimport ClientLife
from fastrpc._core.io.engine cimport PythonEngine


@cython.final
cdef class PythonCalls(CallingPart):
    cdef CallingEngine engine(self)


cdef class CallingEngine(PythonEngine):
    cdef:
        # The name of its protocol.
        readonly str protocol

        # The rules of its life, with the object that is notified; the credential to show, or None.
        ClientLife life
        readonly bytes credential

        # The calls under way; the number of calls written so far, and how many of these the stream has.
        dict _calls
        uint64_t _written
        uint64_t _handed

        # The reason of its close.
        readonly str closed_text

        # The server's verdict on our credential, -1 before the verdict, and its text; whether the server asks for
        # another connection.
        readonly int auth_status
        readonly str auth_text
        readonly bint peer_replaces

    cdef PythonCalls part(self)
    cdef bint _take(self, ClientCall call) except -1
    cdef bint _forget(self, ClientCall call) except -1
    cdef int _fail_all(self, str why, bint leaves) except -1

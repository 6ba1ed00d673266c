cimport cython

from fastrpc._core.calling.pending_call cimport PendingCall
from fastrpc._core.io.session cimport Session
from fastrpc._core.native.call_parts cimport CallingPart


@cython.final
cdef class OwnCalls(CallingPart):
    cdef:
        # Functions that are called once no new calls may go out here; None as long as nobody wants to know.
        list watchers

    cdef Session session(self)
    cdef int _tell_watchers(self) except -1
    cdef int _fail(self, PendingCall call, object error) except -1


cdef bint output_waits(Session session) except -1
cdef OwnCalls new_own_calls(Session session, object endpoint)
cdef Session next_usable(list sessions, Py_ssize_t* turn)

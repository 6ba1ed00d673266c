cimport cython

from fastrpc._core.calling.client_call cimport ClientCall
from fastrpc._core.framing.frame cimport Frame
from fastrpc._core.native.call_parts cimport CallingPart
from fastrpc._core.native.connection cimport Connection


@cython.final
cdef class OwnCalls(CallingPart):
    cdef:
        # Functions that are called once no new calls may go out here; None as long as nobody wants to know.
        list watchers

    cdef Connection session(self)
    cdef int _tell_watchers(self) except -1
    cdef int _fail(self, ClientCall call, object error) except -1


cdef bint output_waits(Connection session) except -1
cdef OwnCalls new_own_calls(Connection session, object endpoint)
cdef Connection next_usable(list sessions, Py_ssize_t* turn)
cdef int keep_early(Connection connection, ClientCall call, bytes payload) except -1
cdef bint send_again(Connection connection, ClientCall call, Frame* frame) except -1

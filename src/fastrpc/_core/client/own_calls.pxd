cimport cython

from fastrpc._core.calls.call cimport Call
from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class OwnCalls(NativeCalling):
    cdef:
        # Functions that are called once no new calls may be sent here, or None.
        list watchers

    cdef Connection session(self)
    cdef int _tell_watchers(self) except -1
    cdef int _fail(self, ClientCall call, object error) except -1
    cdef int _keep_early(self, ClientCall call, bytes payload) except -1
    cdef bint _sent_again(self, ClientCall call, Frame* frame) except -1
    cdef object _refused_error(self, Call call)
    cdef bint _was_violated(self) noexcept
    cdef int _stop_timer(self, Call call) except -1


cdef OwnCalls new_own_calls(Connection session, object endpoint, object protocol=*)
cdef Engine next_usable(list sessions, Py_ssize_t* turn)

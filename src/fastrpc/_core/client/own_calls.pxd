cimport cython

from fastrpc._core.client.client_call cimport ClientCall
from fastrpc._core.io.client_life cimport ClientLife
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.native.call_parts cimport NativeCalling
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.wire.frame cimport Frame


@cython.final
cdef class OwnCalls(NativeCalling):
    cdef:
        # The rules of a client's connection, never None; none of them applies on a connection of a server.
        ClientLife life

        # Functions to call when the connection stops taking new calls, or None.
        list watchers

    cdef Connection session(self)
    cdef bint _sent_again(self, ClientCall call, Frame* frame) except -1
    cdef int _keep_early(self, ClientCall call, bytes payload) except -1


cdef OwnCalls new_own_calls(Connection session, object endpoint, object protocol=*, ClientLife life=*)
cdef Engine next_usable(list sessions, Py_ssize_t* turn)

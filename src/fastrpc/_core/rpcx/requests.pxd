"""From the frames of requests to calls, and from the outcomes of those to frames."""

cimport cython

from fastrpc._core.rpcx.engine cimport RpcxEngine
from fastrpc._core.rpcx.frames cimport RpcxFrame
from fastrpc._core.rpcx.native_forms cimport Reserved
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_connection cimport Failure

cdef enum:
    # A longer name is that of no method.
    LONGEST_NAME = 512


cdef class RpcxRequests(RpcxEngine):
    cdef:
        # Shared by all connections of the server; the state of this one for the gate.
        readonly Gate gate
        readonly EngineServedConnection connection

        # Its life. The last use of the connection is the last call, or its end.
        ConnectionLife life

        # The full name of the method of the frame that is handled.
        char[LONGEST_NAME] name

    cdef ServerCall call_of(self, RpcxFrame* frame, int compressor)
    cdef Py_ssize_t find_name(self, RpcxFrame* frame) noexcept
    cdef bint takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1
    cdef int take_timeout(self, ServerCall call, Reserved* found) except -1
    cdef int refuse(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1

    # RpcxServer implements these, for the served connection.
    cdef int send_answer(self, ServerCall call, bytes payload) except -1
    cdef int send_failure(self, ServerCall call, Failure failure) except -1
    cdef int refused_token(self) except -1
    cdef int after_call(self, bint was_let_in) except -1
    cdef int sender_known(self, int verdict) except -1


@cython.final
cdef class RpcxServedConnection(EngineServedConnection):
    pass


# Error texts as servers in Go write them: programs compare them.
cdef str unknown_method_in_go(str protocol, str method, object services)
cdef str unknown_codec_in_go(int codec)

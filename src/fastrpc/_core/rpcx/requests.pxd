"""From the frames of requests to calls: what `RpcxServer` and `SenderCheck` share."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.rpcx.engine cimport RpcxEngine
from fastrpc._core.rpcx.frames cimport RpcxFrame
from fastrpc._core.serving.connection_life cimport ConnectionLife
from fastrpc._core.serving.engine_exchange cimport EngineExchange
from fastrpc._core.serving.exchange cimport Exchange, Failure
from fastrpc._core.serving.gate cimport Gate
from fastrpc._core.serving.served_call cimport ServerCall

cdef enum:
    # A longer name is that of no method.
    LONGEST_NAME = 512


cdef class RpcxRequests(RpcxEngine):
    cdef:
        # What all connections of the server share; what the gate knows of this one, and the same borrowed. Whichever of
        # the two is freed first clears the pointer that the other has to it.
        readonly Gate gate
        readonly EngineExchange exchange
        PyObject* _exchange

        # Its life. The last use of the connection is the last call, or its end.
        ConnectionLife life

        # The full name of the method of the frame that is handled.
        char[LONGEST_NAME] name

    cdef ServerCall call_of(self, RpcxFrame* frame, int compressor)
    cdef Py_ssize_t find_name(self, RpcxFrame* frame) noexcept
    cdef bint takes_metadata(self, ServerCall call, RpcxFrame* frame, bint is_whole) except -1
    cdef int refuse(self, ServerCall call, Py_ssize_t name_size, int status, str text) except -1

    # What RpcxServer implements, for the exchange.
    cdef int send_answer(self, ServerCall call, bytes payload) except -1
    cdef int send_failure(self, ServerCall call, Failure failure) except -1
    cdef int refused_token(self) except -1
    cdef int after_call(self, bint was_let_in) except -1

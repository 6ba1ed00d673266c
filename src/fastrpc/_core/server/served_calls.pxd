cimport cython
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.call_parts cimport ServingPart
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class NativeServedConnection(EngineServedConnection):
    pass


@cython.final
cdef class ServedCalls(ServingPart):
    cdef:
        # The gate that all connections share.
        Gate gate

        # This connection from the view of the gate.
        NativeServedConnection connection

        # The rules of the connection, including those for credentials and output of its calls.
        ConnectionLife life

        # The connection credit that is withheld because memory is full or too many requests wait for their start.
        int64_t withheld

        # The earliest known deadline of an incomplete request, 0 = none.
        uint64_t rest_due_ns

    cdef Connection engine(self)
    cdef int return_credit(self) except -1
    cdef int send_refusal(self, Call call, int status, str text, bint is_faulty) except -1
    cdef int weigh_output(self) except -1


@cython.nonecheck(False)
cdef inline ServerCall call_of(Gate gate, NativeServedConnection connection):
    """Return the object for a new call: the gate's spare call or a new object."""
    cdef ServerCall call = gate.spare
    gate.spare = None
    if call is None:
        call = ServerCall.__new__(ServerCall)
        # All native connections have the same groups.
        call.groups = connection.groups
    call.connection = connection
    return call

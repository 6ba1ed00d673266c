from fastrpc._core.calls.call cimport Call
from fastrpc._core.native.connection cimport Connection
from fastrpc._core.wire.frame cimport Frame


cdef class EchoConnection(Connection):
    cdef:
        # Calls of ours that were answered.
        readonly Py_ssize_t answered

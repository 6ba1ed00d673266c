from fastrpc._core.call cimport Call
from fastrpc._core.connection cimport Connection
from fastrpc._core.frame cimport Frame


cdef class EchoConnection(Connection):
    cdef:
        # Calls of ours that were answered.
        readonly Py_ssize_t answered

from fastrpc._core.native.connection cimport Connection


cdef class EchoConnection(Connection):
    cdef:
        # Calls of ours that were answered.
        readonly Py_ssize_t answered

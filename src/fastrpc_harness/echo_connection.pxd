from fastrpc._core.native.connection cimport Connection


cdef class EchoConnection(Connection):
    cdef:
        # The number of own calls that were answered.
        readonly Py_ssize_t answered

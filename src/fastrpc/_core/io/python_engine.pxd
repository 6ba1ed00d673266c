from fastrpc._core.io.engine cimport Engine


cdef class PythonEngine(Engine):
    cdef:
        # Output that was not taken, in order, and its bytes.
        list _output
        Py_ssize_t _output_bytes

        # Whether the end of the peer's input is no end of the connection.
        public bint outlasts_input

from fastrpc._core.io.engine cimport Engine


cdef class PythonEngine(Engine):
    cdef:
        # Whether the end of the peer's input is no end of the connection.
        public bint outlasts_input

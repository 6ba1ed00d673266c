from cpython.ref cimport PyObject

from fastrpc._core.io.python_engine cimport PythonEngine
from fastrpc._core.serving.exchange cimport Exchange
from fastrpc._core.serving.gate cimport Gate


cdef class EngineExchange(Exchange):
    cdef:
        # The engine, borrowed: NULL once it is gone.
        PyObject* _engine


cdef class ServedEngine(PythonEngine):
    cdef:
        # What all connections of the server share; what the gate knows of this one, and the same borrowed. Whichever of
        # the two is freed first clears the pointer that the other has to it.
        readonly Gate gate
        readonly EngineExchange exchange
        PyObject* _exchange

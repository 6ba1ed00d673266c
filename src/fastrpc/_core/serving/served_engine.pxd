from cpython.ref cimport PyObject

from fastrpc._core.io.python_engine cimport PythonEngine
from fastrpc._core.serving.engine_exchange cimport EngineExchange
from fastrpc._core.serving.gate cimport Gate


cdef class PythonExchange(EngineExchange):
    pass


cdef class ServedEngine(PythonEngine):
    cdef:
        # What all connections of the server share; what the gate knows of this one, and the same borrowed. Whichever of
        # the two is freed first clears the pointer that the other has to it.
        readonly Gate gate
        readonly PythonExchange exchange
        PyObject* _exchange

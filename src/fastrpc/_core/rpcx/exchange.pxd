"""What the gate tells of the calls of one connection."""

cimport cython

from fastrpc._core.serving.engine_exchange cimport EngineExchange


@cython.final
cdef class RpcxExchange(EngineExchange):
    pass

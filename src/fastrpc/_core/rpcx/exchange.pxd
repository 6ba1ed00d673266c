"""The served calls of one connection: from their outcomes to frames."""

cimport cython

from fastrpc._core.serving.engine_exchange cimport EngineExchange


@cython.final
cdef class RpcxExchange(EngineExchange):
    pass

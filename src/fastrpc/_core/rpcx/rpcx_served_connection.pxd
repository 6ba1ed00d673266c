"""The served calls of one connection: from their outcomes to frames."""

cimport cython

from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


@cython.final
cdef class RpcxServedConnection(EngineServedConnection):
    pass


# Error texts as servers in Go write them: programs compare them.
cdef str unknown_method_in_go(str protocol, str method, object services)
cdef str unknown_codec_in_go(int codec)

"""The served calls of one connection of HTTP/1.1."""

cimport cython

from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    # Count further calls, and show the peer, as of this protocol: the connection has become one of it.
    cdef int speak(self, str protocol) except -1

"""The served calls of one connection of HTTP/1.1, whose outcomes its pages send."""

cimport cython

from fastrpc._core.http.http_pages cimport HttpPages
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    cdef:
        # The requests of the connection, and the outcomes of their calls.
        HttpPages pages

    # Count further calls, and show the peer, as of this protocol: the connection has become one of it.
    cdef int speak(self, str protocol) except -1

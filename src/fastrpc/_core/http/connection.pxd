"""One connection of the HTTP gateway: its life."""

cimport cython

from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http1.connection cimport HttpConnection
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class GatewayConnection(HttpConnection):
    cdef:
        # `service` and `gate`: the state that all connections share; `connection`: the object that represents this
        # connection for the gate.
        readonly HttpService service
        readonly Gate gate
        readonly EngineServedConnection connection

        # The requests of the connection, on their way to the gate.
        RequestState requests

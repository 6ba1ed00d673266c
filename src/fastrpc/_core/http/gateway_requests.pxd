"""The requests of one exchange of the gateway, from their heads until the gate has their calls."""

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection

# Make the `HttpApplication` for an exchange of a connection.
cdef RequestState new_requests(
    Exchange exchange, EngineServedConnection connection, ContractGroups groups, HttpService service, object keepalive
)

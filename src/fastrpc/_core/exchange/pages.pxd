"""Pages: the requests of HTTP on a connection, beside the calls of another protocol; drawn in the `.pyx`."""

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class Pages:
    cdef:
        # Set before a connection holds it. Whether payloads of some calls are values, not arrays of arguments.
        readonly bint takes_values

        # Whether a request may ask for a tunnel, as a WebSocket does (RFC 8441).
        readonly bint takes_tunnels

        # The limits of heads of requests.
        readonly RequestLimits limits

        # The outcomes of the calls of its requests.
        readonly Outcomes outcomes

    cdef int join(self, EngineServedConnection connection) except -1
    cdef HttpApplication begin(self, Exchange exchange)


# Return a peer as calls of a protocol show it; its connection keeps the copies.
cdef object peer_as(object info, str protocol, ServedConnection connection)

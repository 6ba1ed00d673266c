"""Pages: the HTTP requests of a connection, beside the calls of another protocol; drawn in the `.pyx`."""

from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.link.contract cimport Outcomes
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class Pages:
    cdef:
        # Set before a connection holds it. Whether some calls carry values as payloads, not arrays of arguments.
        readonly bint takes_values

        # Whether a request may ask for a tunnel, as a WebSocket does (RFC 8441).
        readonly bint takes_tunnels

        # The limits of request heads.
        readonly RequestLimits limits

        # The outcomes of the calls that its requests make, and groups of the contract (`link/contract`); each
        # implements all methods of its group.
        readonly Outcomes outcomes

    cdef int join(self, EngineServedConnection connection) except -1
    cdef HttpApplication begin(self, Exchange exchange)


# Return the peer's information with this protocol's name; the connection keeps the copies.
cdef object peer_as(object info, str protocol, ServedConnection connection)

"""Pages: the requests of HTTP on a connection, beside the calls of another protocol; drawn in the `.pyx`."""

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.exchange.request_head cimport RequestLimits
from fastrpc._core.link.contract cimport Dialect, Flow, Forms, Handling
from fastrpc._core.link.failure cimport Failure
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

        # The parts of the contract for the calls of its requests, each whole.
        readonly Flow flow
        readonly Dialect dialect
        readonly Forms forms
        readonly Handling handling

    cdef int join(self, EngineServedConnection connection) except -1
    cdef HttpApplication begin(self, Exchange exchange)

    # Outcomes of calls, as of a `Wire`.
    cdef int answer(self, Call call, bytes payload) except -1
    cdef int fail(self, Call call, Failure failure) except -1
    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1

    # The sender of a long request is known, as in `Assembling`.
    cdef int judged(self, Call call, int verdict) except -1


# Return a peer as calls of a protocol show it; its connection keeps the copies.
cdef object peer_as(object info, str protocol, ServedConnection connection)

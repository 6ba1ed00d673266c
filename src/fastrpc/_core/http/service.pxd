"""The state that all connections of the gateway at one address share, and the fields for pages (CORS)."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.exchange.request_head cimport RequestHead, RequestLimits
from fastrpc._core.http.own_hosts cimport OwnHosts
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.gate cimport Gate


@cython.final
cdef class HttpMethod:
    cdef:
        # The method; whether GET may call it; whether its payloads are protobuf, which HTTP does not carry.
        readonly MethodRoute route
        readonly bint is_safe
        readonly bint is_protobuf

        # Encoders and decoders of its calls by HTTP, by codec, made on first use. The functions that make them, and the
        # JSON of the arguments of a query.
        Marshal _json
        Marshal _msgpack
        object _marshal_of
        object arguments_of
        object _mistakes_in

        # Returns the reader of a form by its Content-Type (`fastrpc.server.http.forms`), None: the method takes no file.
        object open_form

    cdef Marshal marshal(self, int codec)
    cdef bytes mistakes(self, int codec, bytes payload, str first)


@cython.final
cdef class HttpService:
    cdef:
        readonly Gate gate
        readonly RequestLimits limits

        # Whether methods may be called by their paths, by WebSocket, and as the header gateways of rpcx and Phobos do. The
        # fixed paths.
        bint serves_methods
        bint offers_sockets
        bint serves_rpcx
        bint serves_phobos

        # Whether answers are compressed for clients that take compressed ones.
        bint compresses
        readonly dict paths

        # Origins whose pages may call. Hosts that are ours; None: any Host will do.
        frozenset origins
        OwnHosts hosts

        # The hosts for applications that accept requests without an identity: pages of other origins are among their
        # callers.
        public OwnHosts open_hosts

        # The most bytes of a body, and of a message of a stream; the most received bytes that a stream may hold.
        Py_ssize_t body_bytes
        Py_ssize_t window_bytes

        # Finds the methods of routes (`fastrpc.server.http.routes`), None: there can be none.
        public object routes

        # Finds the clients of trusted proxies (`fastrpc.server.http.forwarded`), None: none are trusted.
        public object proxies

        # Finds the application at a path (`fastrpc.hosting.mounts`), None: none is mounted.
        public object mounts

        # Finds calls by gRPC-Web and Connect: a function of verb, query and fields; None: neither is served.
        object web

        # How long a stream may be silent.
        uint64_t sign_ns

        # Methods in the form in which the gateway uses them, made on first use.
        object _make_method
        dict _methods

    # Whether payloads of some calls are values, not arrays of arguments.
    cdef inline bint takes_values(self) noexcept:
        return self.serves_rpcx or self.serves_phobos

    cdef HttpMethod method_of(self, MethodRoute route)
    cdef str unknown_path(self, str path)
    cdef bint takes_host(self, RequestHead head, OwnHosts hosts) except -1


# Return whether the page that sent a request is allowed; `origin` is set for an allowed page of another origin.
cdef bint takes_page(HttpService service, RequestHead head, list origin) except -1

# Return the error text for a request of a page that may not call, and the error text for a request to a host that is
# not this server.
cdef str refused_page_text(HttpService service, RequestHead head)
cdef str refused_host_text(RequestHead head)

# Return whether a request without a page of another origin may be a form. A browser sends forms without a preflight,
# and may not state which of the sites of a domain sent it.
cdef bint takes_form(RequestHead head) noexcept

# Return whether this request is a preflight, by which a browser asks whether it may send another request.
cdef bint is_preflight(RequestHead head) except -1

# Return the fields of the answer to a preflight.
cdef bytes preflight_lines(HttpService service, RequestHead head, bytes origin)

# Return the fields that let the page of an origin read an answer, with the given fields of metadata; None: with any
# fields.
cdef bytes shared_lines(bytes origin, bytes metadata_fields)

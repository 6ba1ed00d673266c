"""The state that all connections of the gateway at one address share, and the fields for web pages (CORS)."""

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
        # `route`: the method; `is_safe`: whether GET may call it; `is_protobuf`: whether its payloads are protobuf,
        # which the gateway does not carry.
        readonly MethodRoute route
        readonly bint is_safe
        readonly bint is_protobuf

        # `_json`, `_msgpack`: the marshals of the method's calls by HTTP, made on first use. The functions return a
        # marshal by codec (`_marshal_of`), the arguments in a query as JSON (`arguments_of`), and the mistakes in
        # arguments (`_mistakes_in`).
        Marshal _json
        Marshal _msgpack
        object _marshal_of
        object arguments_of
        object _mistakes_in

        # Returns the reader of a form by its Content-Type (`fastrpc.server.http.forms`); None if the method has no file.
        object open_form

    cdef Marshal marshal(self, int codec)
    cdef bytes mistakes(self, int codec, bytes payload, str first)


@cython.final
cdef class HttpService:
    cdef:
        readonly Gate gate
        readonly RequestLimits limits

        # Whether methods may be called by their paths (`serves_methods`), by WebSocket (`offers_sockets`), and through
        # the header gateways of rpcx (`serves_rpcx`) and Phobos (`serves_phobos`).
        bint serves_methods
        bint offers_sockets
        bint serves_rpcx
        bint serves_phobos

        # Whether answers are compressed for clients that accept gzip.
        bint compresses

        # The handlers of fixed paths by path.
        readonly dict paths

        # `origins`: the origins whose pages may call; `hosts`: the hosts of this server, None if any Host is accepted.
        frozenset origins
        OwnHosts hosts

        # The accepted hosts for applications that need no identity, which pages of any origin may call.
        public OwnHosts open_hosts

        # `body_bytes`: the most bytes of a body, and of a message of a stream; `window_bytes`: the most received bytes
        # that a stream may hold.
        Py_ssize_t body_bytes
        Py_ssize_t window_bytes

        # Finds the methods of routes (`fastrpc.server.http.routes`); None if the server has no routes.
        public object routes

        # Finds the clients behind trusted proxies (`fastrpc.server.http.forwarded`); None if no proxy is trusted.
        public object proxies

        # Finds the application at a path (`fastrpc.hosting.mounts`); None if none is mounted.
        public object mounts

        # Finds calls by gRPC-Web and Connect: a function of verb, query and fields; None if neither is served.
        object web

        # The interval after which a silent stream sends a sign of life.
        uint64_t sign_ns

        # `_make_method` makes the `HttpMethod` of a route; `_methods`: the methods by route, made on first use.
        object _make_method
        dict _methods

    # Return whether the payloads of some calls are one value instead of an array of arguments.
    cdef inline bint takes_values(self) noexcept:
        return self.serves_rpcx or self.serves_phobos

    cdef HttpMethod method_of(self, MethodRoute route)
    cdef str unknown_path(self, str path)
    cdef bint takes_host(self, RequestHead head, OwnHosts hosts) except -1


# Return whether the page that sent a request may call; for a page of another origin, append the origin to `origin`.
cdef bint takes_page(HttpService service, RequestHead head, list origin) except -1

# Return the error text for a request of a page that may not call. `refused_host_text` returns the text for a Host that
# is not this server.
cdef str refused_page_text(HttpService service, RequestHead head)
cdef str refused_host_text(RequestHead head)

# Return whether a request that names no other origin may be a form. It may not if another origin of the same site sent
# it: a browser sends forms without a preflight, and may omit the origin.
cdef bint takes_form(RequestHead head) noexcept

# Return whether this request is a preflight, by which a browser asks whether it may send another request.
cdef bint is_preflight(RequestHead head) except -1

# Return the fields of the answer to a preflight.
cdef bytes preflight_lines(HttpService service, RequestHead head, bytes origin)

# Return the fields that let pages of an origin read an answer and the given fields of metadata; None: all fields.
cdef bytes shared_lines(bytes origin, bytes metadata_fields)

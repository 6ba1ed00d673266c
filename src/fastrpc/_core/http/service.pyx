"""The state that all connections of the gateway at one address share: methods, fixed paths, pages that may call.

A web page can make its user's browser send requests to any server. The checks against that are here: of the Host, as
the page's own name may resolve to this machine, and of the origin of the page. Responses to pages of allowed origins have
the fields of CORS.
"""

cimport cython

from fastrpc._core.base.codec_numbers cimport CODEC_MSGPACK
from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.exchange.request_head cimport FIELD_HOST, FIELD_ORIGIN, FIELD_SEC_FETCH_SITE, VERB_OPTIONS, is_text

# The option of `HTTP` that serves a path.
cdef dict OPTIONS_BY_PATH = {
    "/docs": "docs",
    "/openapi.json": "docs",
    "/client.js": "docs",
    "/jsonrpc": "jsonrpc",
    "/mcp": "mcp",
}

# The verbs that pages may use: VERBS without routes, ROUTE_VERBS with routes.
cdef bytes VERBS = b"GET, HEAD, POST"
cdef bytes ROUTE_VERBS = b"DELETE, GET, HEAD, PATCH, POST, PUT"

cdef enum:
    # Seconds for which a browser keeps the answer to a preflight.
    KEPT_SECONDS = 600
    # The most bytes of field names that are echoed, and of a Host.
    MOST_NAMES = 1024
    MOST_HOST = 255

cdef frozenset NAME_BYTES = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_., ")


@cython.final
cdef class HttpMethod:

    def __init__(
        self, MethodRoute route not None, marshal_of not None, arguments_of not None, mistakes_in=None, *, bint is_safe,
        bint is_protobuf=False, open_form=None
    ):
        self.route = route
        self.is_safe = is_safe
        self.is_protobuf = is_protobuf
        self._marshal_of = marshal_of
        self.arguments_of = arguments_of
        self._mistakes_in = mistakes_in
        self.open_form = open_form

    cdef Marshal marshal(self, int codec):
        """Return the marshal for calls in JSON or msgpack. CallError: the codec cannot carry the method's types."""
        if codec == CODEC_MSGPACK:
            if self._msgpack is None:
                self._msgpack = <Marshal?>self._marshal_of("msgpack")
            return self._msgpack
        if self._json is None:
            self._json = <Marshal?>self._marshal_of("json")
        return self._json

    cdef bytes mistakes(self, int codec, bytes payload, str first):
        """Return the mistakes in arguments that were just refused, encoded in their codec, or None."""
        cdef Marshal marshal = self._msgpack if codec == CODEC_MSGPACK else self._json
        if self._mistakes_in is None or marshal is None or not marshal.was_opened:
            return None
        return self._mistakes_in("msgpack" if codec == CODEC_MSGPACK else "json", payload, first)


@cython.final
cdef class HttpService:

    def __init__(
        self, Gate gate not None, options, bounds, make_method not None, paths, OwnHosts hosts, *, web=None,
        sign_seconds=15.0
    ):
        limits = options.limits
        self.gate = gate
        # The options' limits have the same fields as RequestLimits.
        self.limits = RequestLimits(**{name: getattr(limits, name) for name in limits.__dataclass_fields__})
        self.serves_methods = options.json
        self.offers_sockets = options.websocket
        self.serves_rpcx = options.rpcx
        self.serves_phobos = options.phobos
        self.compresses = options.compress
        self.paths = {path.encode("ascii"): handled for path, handled in paths.items()}
        self.origins = frozenset([origin.encode("ascii") for origin in options.cors_origins])
        self.hosts = self.open_hosts = hosts
        self.web = web
        self.body_bytes = bounds.message_bytes
        self.window_bytes = bounds.stream_window_bytes
        self.sign_ns = nanoseconds(sign_seconds)
        self._make_method = make_method
        self._methods = {}

    cdef HttpMethod method_of(self, MethodRoute route):
        """Return the `HttpMethod` of a method."""
        found = self._methods.get(route)
        if found is None:
            found = self._methods[route] = self._make_method(route)
        return <HttpMethod?>found

    cdef str unknown_path(self, str path):
        """Return the error text for a path that is not /service/method."""
        if path.startswith("/ws/"):
            if self.offers_sockets:
                return f"nothing is at {path!r} here; the sockets of methods are at /ws/service/method"
            return f"nothing is at {path!r} here: HTTP(websocket=True) serves it"
        option = OPTIONS_BY_PATH.get(path)
        if option is not None:
            return f"nothing is at {path!r} here: HTTP({option}=True) serves it"
        if not self.serves_methods:
            return f"nothing is at {path!r} here: HTTP(json=True) serves methods at /service/method"
        return f"nothing is at {path!r} here; methods are at /service/method"

    cdef bint takes_host(self, RequestHead head, OwnHosts hosts) except -1:
        """Return whether the Host of a request is among the given hosts of the server; None accepts all."""
        return hosts is None or hosts.takes_any or lists_host(hosts, head)


cdef bint takes_pages_of_host(HttpService service, RequestHead head) except -1:
    """Return whether pages under the Host of a request may call as pages of the server's own origin.

    If any Host is accepted, this needs a listed one: a foreign page whose name resolves to this machine has the same
    origin as the server.
    """
    return service.hosts is None or not service.hosts.takes_any or lists_host(service.hosts, head)


cdef bint is_own_origin(RequestHead head, bytes origin) except -1:
    """Return whether an origin has the same host as the request, so that the page was loaded from this server."""
    cdef str host = head.field_text(FIELD_HOST)
    scheme, _, authority = origin.partition(b"://")
    return host is not None and scheme in (b"http", b"https") and authority.lower() == host.encode("latin-1").lower()


cdef bint lists_host(OwnHosts hosts, RequestHead head) except -1:
    """Return whether the Host of a request is one of these, or missing."""
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(FIELD_HOST, &size)
    # A missing Host is accepted, as browsers always send one.
    return data is NULL or hosts.has(data, size)


cdef bint takes_page(HttpService service, RequestHead head, list origin) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(FIELD_ORIGIN, &size)
    cdef bint is_own = takes_pages_of_host(service, head)
    cdef bytes found
    if data is not NULL:
        found = data[:size]
        if head.count_of(FIELD_ORIGIN) > 1:
            return False
        if not is_own or not is_own_origin(head, found):
            if found.lower() not in service.origins:
                return False
            origin.append(found)
            return True
    data = head.field_data(FIELD_SEC_FETCH_SITE, &size)
    return data is NULL or is_own and not is_text(data, size, b"cross-site")


cdef str refused_page_text(HttpService service, RequestHead head):
    if not takes_pages_of_host(service, head):
        return (
            f"pages under {_host_of(head)} may not call this server: list that name in HTTP.allowed_hosts, as '*' allows no "
            "pages, or their origin in HTTP.cors_origins"
        )
    return "pages of that origin may not call this server (HTTP.cors_origins)"


cdef str refused_host_text(RequestHead head):
    return f"the Host of the request, {_host_of(head)}, is not this server: HTTP.allowed_hosts names its hosts"


cdef str _host_of(RequestHead head):
    """Return the Host of a request as shown in errors."""
    return repr(head.host[:MOST_HOST])


cdef bint takes_form(RequestHead head) noexcept:
    cdef Py_ssize_t size = 0
    cdef const char* data = head.field_data(FIELD_SEC_FETCH_SITE, &size)
    return data is NULL or not is_text(data, size, b"same-site")


cdef bint is_preflight(RequestHead head) except -1:
    return head.verb == VERB_OPTIONS and len(head.values("access-control-request-method")) > 0


cdef bytes preflight_lines(HttpService service, RequestHead head, bytes origin):
    cdef bytes names = ",".join(head.values("access-control-request-headers")).encode("latin-1")
    if len(names) > MOST_NAMES or not NAME_BYTES.issuperset(names):
        names = b""
    cdef bint has_routes = service.routes is not None and not service.routes.is_empty
    return (
        b"Access-Control-Allow-Origin: %b\r\nVary: Origin, Access-Control-Request-Headers\r\n"
        b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: %b\r\n"
        b"Access-Control-Max-Age: %d\r\n"
    ) % (origin, ROUTE_VERBS if has_routes else VERBS, names, KEPT_SECONDS)


cdef bytes shared_lines(bytes origin, bytes metadata_fields):
    cdef list names = [b"Retry-After", b"X-Request-Id"]
    if metadata_fields is None:
        names, metadata_fields = [b"*"], b""
    for line in metadata_fields.split(b"\r\n"):
        if line:
            names.append(line.partition(b":")[0])
    return b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Expose-Headers: %b\r\n" % (origin, b", ".join(names))

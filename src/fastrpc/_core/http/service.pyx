"""The state that all connections of the gateway at one address share: methods, fixed paths, whose pages may call.

A page in a browser can make its user's browser send requests anywhere. The checks against that are here: of the Host that
a request names (a page's own name may lead to this machine), and of the origin of the page that sends it.
"""

cimport cython

from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.http1.head cimport FIELD_HOST, RequestLimits

# The options of `HTTP` that serve a path.
cdef dict OPTIONS_BY_PATH = {
    "/docs": "docs",
    "/openapi.json": "docs",
    "/client.js": "docs",
    "/jsonrpc": "jsonrpc",
    "/mcp": "mcp",
}


@cython.final
cdef class HttpService:

    def __init__(self, Gate gate not None, options, bounds, make_method not None, paths, set hosts, *, sign_seconds=15.0):
        limits = options.limits
        self.gate = gate
        self.limits = RequestLimits(
            header_seconds=limits.header_seconds,
            idle_seconds=limits.idle_seconds,
            body_idle_seconds=limits.body_idle_seconds,
            headers=limits.headers,
            header_bytes=limits.header_bytes,
            target_bytes=limits.target_bytes,
        )
        self.serves_methods = options.json
        self.offers_sockets = options.websocket
        self.serves_rpcx = options.rpcx
        self.serves_phobos = options.phobos
        self.paths = {path.encode("ascii"): handled for path, handled in paths.items()}
        self.origins = frozenset([origin.encode("ascii") for origin in options.cors_origins])
        self.hosts = hosts
        self.body_bytes = bounds.message_bytes
        self.window_bytes = bounds.stream_window_bytes
        self.sign_ns = nanoseconds(sign_seconds)
        self._make_method = make_method
        self._methods = {}

    cdef HttpMethod method_of(self, MethodRoute route):
        """Return a method as the gateway knows it."""
        found = self._methods.get(route)
        if found is None:
            found = self._methods[route] = self._make_method(route)
        return <HttpMethod?>found

    cdef str unknown_path(self, str path):
        """Return the error text for a path that is not /service/method."""
        option = "websocket" if path.startswith("/ws/") else OPTIONS_BY_PATH.get(path)
        if option is not None:
            return f"nothing is at {path!r} here: HTTP({option}=True) serves it"
        if not self.serves_methods:
            return f"nothing is at {path!r} here: HTTP(json=True) serves methods at /service/method"
        return f"nothing is at {path!r} here; methods are at /service/method"

    cdef bint knows_host(self, RequestHead head) except -1:
        """Return whether a request asks a host that is this server, as far as that can be known."""
        cdef Py_ssize_t size = 0
        cdef const char* data
        if self.hosts is None:
            return True
        data = head.field_data(FIELD_HOST, &size)
        # Browsers always send one.
        return data is NULL or is_address(data, size) or _name_of(data[:size]) in self.hosts

    cdef bint is_own_origin(self, RequestHead head, bytes origin) except -1:
        """Return whether a page of an origin came from the host that it asks now."""
        cdef Py_ssize_t size = 0
        cdef const char* data = head.field_data(FIELD_HOST, &size)
        scheme, _, authority = origin.partition(b"://")
        return data is not NULL and scheme in (b"http", b"https") and authority.lower() == data[:size].lower()


cdef bint is_address(const char* host, Py_ssize_t size) noexcept:
    """Return whether a checked Host is an address: no page has such a name."""
    cdef Py_ssize_t at, dots = 0
    if host[0] == b"[":
        return True
    for at in range(size):
        if host[at] == b":":
            break
        if host[at] == b".":
            dots += 1
        elif not b"0" <= host[at] <= b"9":
            return False
    return dots == 3


cdef str _name_of(bytes host):
    """Return the name in a Host, without port and in lower case."""
    return host.partition(b":")[0].decode("latin-1").lower().rstrip(".")

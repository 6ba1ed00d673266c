"""A call as its HTTP request describes it, before the gate sees it.

Faults of a request are answered after the guards of the gate, so that a caller who may not call a method does not learn
its verbs. For this, `refuse_later` gives the call the flags of another kind of method, so that the gate refuses it, and
the answer has the fault in its terms. Faults of framing, Host or origin are answered immediately.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t
from libc.string cimport memchr, memcmp, memcpy

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK, CODEC_RAW
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.calls.call_log cimport find_request_entry
from fastrpc._core.exchange.request_head cimport (
    FIELD_CONTENT_ENCODING,
    FIELD_CONTENT_TYPE,
    FIELD_REQUEST_ID,
    VERB_GET,
    VERB_HEAD,
    VERB_OPTIONS,
    VERB_POST,
    is_text,
)
from fastrpc._core.http.messages cimport (
    BODY_FORM,
    BODY_JSON,
    BODY_LINES,
    BODY_MSGPACK,
    BODY_NONE,
    BODY_PAIRS,
    FORM_NONE,
    body_kind,
    is_grpc,
    stream_form,
)
from fastrpc._core.http.request_fields cimport LONGEST_US, asks_socket, chosen_protocol, handshake_fault, has_plain_id
from fastrpc._core.http.request_fields cimport metadata_of, mounted_metadata, state_timeout, take_timeout, token_of
from fastrpc._core.http.request_fields cimport too_much_metadata
from fastrpc._core.http.own_hosts cimport OwnHosts
from fastrpc._core.http.rpcx_headers cimport rpcx_headers, take_rpcx_metadata
from fastrpc._core.http.service cimport (
    is_preflight,
    preflight_lines,
    refused_host_text,
    refused_page_text,
    takes_form,
    takes_page,
)
from fastrpc._core.payload.metadata cimport METADATA_OK, METADATA_TOO_LARGE, check_metadata, encode_metadata, note_dropped
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT, TIMEOUT_NONE

from fastrpc._core.exchange.request_head import RequestRefusedError
from fastrpc.errors import CallError
from fastrpc.status import Status

cdef enum:
    # The longest name of a method (PROTOCOL.md).
    NAME_BYTES = 255

# The subprotocols of calls by WebSocket; the subprotocol of fixed paths.
cdef tuple SUBPROTOCOLS = ("fastrpc.json", "fastrpc.msgpack")
cdef tuple JSON_SUBPROTOCOL = ("fastrpc.json",)

# The error for gRPC over HTTP/1.1, for clients that also speak HTTP/1.1, such as connect-go.
cdef str GRPC_TEXT = (
    'gRPC needs HTTP/2: offer h2 by ALPN, at a port with "grpc" in ServerConfig.protocols'
)
cdef str NO_GRPC_TEXT = 'gRPC is not served here, or not in this format (serve it with "grpc" in ServerConfig.protocols)'

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class HttpTerms:

    cdef int understand(self, ServerCall call, RequestHead head, HttpService service) except -1:
        """Read the sender, the method and the form of a request from its head."""
        cdef bytes path = _path_of(head)
        if head.protocol is not None and not asks_socket(head):
            # The bytes after the answer to such a CONNECT would belong to a tunnel (RFC 8441, section 4).
            return self.set_fault(501, "CONNECT is taken only with :protocol websocket", b"")
        if service.mounts is not None and _is_mounted(self, call, head, service, path):
            return 0
        if not _may_ask(self, call, head, service):
            return 0
        if service.paths:
            self.path = service.paths.get(path)
            self.needs_identity = self.path is not None and self.path.needs_identity
        if service.offers_sockets:
            if self.path is not None:
                self.is_socket = self.path.takes_messages and asks_socket(head)
            elif _is_socket_path(path):
                # /service/method follows the prefix /ws.
                self.is_socket = True
                path = path[3:]
        if self.path is None and not self.is_socket and _is_web(self, head, service):
            return _find_web(self, call, head, service, path)
        _take_fields(self, call, head, service.gate.metadata_bytes)
        if service.takes_values() and not self.is_socket:
            self.rpcx = _rpcx_of(head, service, path)
            if self.rpcx is not None:
                self.path = None
                self.needs_identity = False
                return _find_rpcx(self, call, head, service)
        if self.path is not None:
            return _check_socket(self, call, head) if self.is_socket else _check_path(self, head)
        return _find_method(self, call, head, service, path)

    cdef int understand_stream(self, ServerCall call, RequestHead head, HttpService service, bint has_pages) except -1:
        cdef bytes path = _path_of(head)
        # Fixed paths and applications come first, as with HTTP/1.1.
        if has_pages and _is_page(self, call, head, service, path):
            return 0
        if not _may_ask(self, call, head, service) or not _is_web(self, head, service):
            return 0
        return _find_web(self, call, head, service, path)

    cdef int set_fault(self, int status, str text, bytes lines) except -1:
        """Set the fault for which the request is refused, without passing it to the gate."""
        self.fault_status = status
        self.fault_text = text
        self.fault_lines = lines
        return 0

    cdef int refuse_later(self, ServerCall call, int status, str text) except -1:
        """Set the fault for which the request is refused after the guards of the gate."""
        cdef bytes lines = b""
        if status == 405:
            lines = b"Allow: GET, HEAD, POST\r\n" if self.target.is_safe else b"Allow: POST\r\n"
        self.is_fault_hidden = True
        call.flags = (call.route.flags ^ (STREAM_IN | STREAM_OUT)) & (STREAM_IN | STREAM_OUT)
        self.takes_lines = False
        self.form = FORM_NONE
        return self.set_fault(status, text, lines)

    cdef bytes payload_of(self, ServerCall call, RequestHead head, bytes body):
        """Return the arguments of a request; if they are unfit, set a fault for after the guards."""
        if self.target is None or self.fault_status:
            return body
        try:
            if self.has_pairs:
                return self.routed.payload_of_pairs(body)
            if self.routed is not None:
                return self.routed.payload(head.query, body, "msgpack" if call.codec == CODEC_MSGPACK else "json")
            if head.verb != VERB_POST and body:
                raise CallError(Status.INVALID_ARGUMENT, f"{head.method} takes no body: its arguments are in the query")
            if head.verb != VERB_POST:
                return <bytes?>self.target.arguments_of(head.query)
        except CallError as error:
            self.refuse_later(call, 400, f"{call.method}: {error.message}")
        return body


cdef bint _fits_metadata(HttpTerms terms, ServerCall call, uint32_t metadata_bytes) except -1:
    """Return whether the metadata of a request is within its limit."""
    cdef bytes metadata = call.received_metadata
    cdef int found = METADATA_OK if metadata is None else check_metadata(metadata, len(metadata), metadata_bytes)
    # By gRPC a key may come several times.
    return found == METADATA_OK or terms.web is not None and found != METADATA_TOO_LARGE


cdef bytes _path_of(RequestHead head):
    """Return the target of a request without its query."""
    cdef Py_ssize_t size = 0
    cdef const char* target = head.target_data(&size)
    cdef const char* query = <const char*>memchr(target, b"?", <size_t>size)
    return target[:size] if query is NULL else target[:query - target]


cdef bint _is_socket_path(bytes path) noexcept:
    return PyBytes_GET_SIZE(path) > 4 and memcmp(PyBytes_AS_STRING(path), b"/ws/", 4) == 0


cdef RpcxHeaders _rpcx_of(RequestHead head, HttpService service, bytes path):
    """Return the header-gateway fields of a request, or None if it has none or that gateway is not served."""
    cdef RpcxHeaders found = rpcx_headers(head, path, False) if service.serves_rpcx else None
    return rpcx_headers(head, path, True) if found is None and service.serves_phobos else found


cdef bint _is_page(HttpTerms terms, ServerCall call, RequestHead head, HttpService service, bytes path) except -1:
    """Return whether a request is for a fixed path, a WebSocket or an application, which the pages serve."""
    if service.paths and path in service.paths:
        return True
    return head.protocol is not None or service.mounts is not None and _is_mounted(terms, call, head, service, path)


cdef bint _is_web(HttpTerms terms, RequestHead head, HttpService service) except -1:
    """Return whether a request is a call by gRPC-Web or Connect, even if it is faulty."""
    if service.web is None:
        return False
    terms.web = service.web(head.method, head.query, head.pairs())
    return terms.web is not None


cdef bint _may_ask(HttpTerms terms, ServerCall call, RequestHead head, HttpService service) except -1:
    """Check Host and origin, and answer a preflight; return whether the request is processed further."""
    cdef list origin = []
    if not _asks_us(terms, head, service, service.hosts):
        return False
    if not takes_page(service, head, origin):
        terms.set_fault(403, refused_page_text(service, head), b"")
    elif origin:
        terms.origin = origin[0]
        # A page of another origin must not act with the identity in the browser's certificate.
        call.identity = None
        if is_preflight(head):
            terms.set_fault(204, "", preflight_lines(service, head, terms.origin))
    if terms.fault_status == 0 and is_grpc(head):
        if head.version == "2":
            terms.set_fault(415, NO_GRPC_TEXT, b"")
        else:
            terms.set_fault(505, GRPC_TEXT, b"")
    return terms.fault_status == 0


cdef bint _asks_us(HttpTerms terms, RequestHead head, HttpService service, OwnHosts hosts) except -1:
    """Return whether the Host names this server; if not, set the fault."""
    if service.takes_host(head, hosts):
        return True
    terms.set_fault(421, refused_host_text(head), b"")
    return False


cdef bint _is_mounted(HttpTerms terms, ServerCall call, RequestHead head, HttpService service, bytes path) except -1:
    """Return whether the request is for a mounted application, as no path of the gateway itself matches."""
    cdef object mount = service.mounts(path)
    if mount is None or _is_ours(terms, head, service, path):
        return False
    if not _asks_us(terms, head, service, service.hosts if mount.needs_identity else service.open_hosts):
        return True
    terms.mount = mount
    terms.needs_identity = mount.needs_identity
    terms.name = (<MethodRoute?>mount.route).name
    call.route = mount.route
    call.codec = CODEC_RAW
    # A mounted application limits its time itself: only `Limits.longest_call` ends the call.
    call.stated_timeout_us = TIMEOUT_NONE
    call.received_metadata = mounted_metadata(head, terms.needs_identity)
    terms.is_socket = asks_socket(head)
    if terms.is_socket:
        _check_mounted_socket(terms, call, head)
    if not terms.needs_identity:
        call.identity = None
    return True


cdef int _check_mounted_socket(HttpTerms terms, ServerCall call, RequestHead head) except -1:
    """Check the handshake of an application's WebSocket; read its credential if the gateway has to verify it."""
    cdef tuple fault = handshake_fault(head)
    cdef bytes token = token_of(head) if terms.needs_identity else None
    if fault is not None:
        return terms.set_fault(fault[0], fault[1], fault[2])
    if token is not None:
        call.received_metadata = (call.received_metadata or b"") + _bearer_entry(token)
    return 0


cdef bint _is_ours(HttpTerms terms, RequestHead head, HttpService service, bytes path) except -1:
    """Return whether a fixed path, a method or a route of the gateway serves the request."""
    if service.paths and path in service.paths:
        return True
    if service.offers_sockets and _is_socket_path(path) and _named(terms, service, path[3:]) is not None:
        return True
    if _named(terms, service, path) is not None and (service.serves_methods or _is_web(terms, head, service)):
        return True
    if _rpcx_of(head, service, path) is not None:
        return True
    if service.routes is None:
        return False
    # A preflight (OPTIONS) asks about another verb, which decides here.
    asked = head.values("access-control-request-method") if head.verb == VERB_OPTIONS else []
    found = service.routes(asked[0] if asked else head.method, path)
    return found is not None and found[1] is not None


cdef int _take_fields(HttpTerms terms, ServerCall call, RequestHead head, uint32_t metadata_bytes) except -1:
    cdef bytes metadata, token
    take_timeout(head, call)
    metadata = metadata_of(head)
    token = token_of(head) if terms.is_socket else None
    if token is not None:
        metadata = (metadata or b"") + _bearer_entry(token)
    call.received_metadata = metadata
    if not _fits_metadata(terms, call, metadata_bytes):
        raise RequestRefusedError(431, too_much_metadata(metadata_bytes))
    if head.count_of(FIELD_REQUEST_ID) and not has_plain_id(head):
        find_request_entry(call, True)
    return 0


cdef int _find_method(HttpTerms terms, ServerCall call, RequestHead head, HttpService service, bytes path) except -1:
    """Find the method of a path."""
    terms.name = path
    if service.serves_methods or terms.is_socket or terms.web is not None:
        call.route = _named(terms, service, path)
    if call.route is None:
        is_route = service.routes is not None and not terms.is_socket and terms.web is None
        return _find_route(terms, call, head, service, path) if is_route else 0
    _note_name(terms, call, service)
    terms.target = service.method_of(call.route)
    if terms.is_socket:
        return _check_socket(terms, call, head)
    if terms.web is not None:
        return _check_web(terms, call)
    _check_request(terms, call, head)
    if terms.fault_status or head.verb != VERB_POST:
        return 0
    return _check_encoding(terms, call, head, service.gate.compressors)


cdef int _note_name(HttpTerms terms, ServerCall call, HttpService service) except -1:
    """Keep the name by which a method was called, for the text of a refusal."""
    return call.note_name(terms.name, PyBytes_GET_SIZE(terms.name)) if service.gate.guards.asks_access() else 0


cdef MethodRoute _named(HttpTerms terms, HttpService service, bytes path):
    """Return the method at `/service/method`, or None; the name of a service may have dots."""
    cdef char[NAME_BYTES] name
    cdef Py_ssize_t size = PyBytes_GET_SIZE(path) - 1, at, slash = 0
    if not 0 < size < NAME_BYTES:
        return None
    memcpy(name, PyBytes_AS_STRING(path) + 1, <size_t>size)
    for at in range(size):
        if name[at] == b"/" and slash == 0:
            slash = at
            name[at] = b"."
        elif name[at] in b"/%" or slash and name[at] == b".":
            return None
    if not 0 < slash < size - 1:
        return None
    terms.name = name[:size]
    return service.gate.routes.find(name, size)


cdef int _find_route(HttpTerms terms, ServerCall call, RequestHead head, HttpService service, bytes path) except -1:
    """Find the method of a route, and check the verb and the Content-Type of the request."""
    cdef tuple found = service.routes(head.method, path)
    cdef int kind = body_kind(head)
    cdef Py_ssize_t size = 0
    if found is None:
        return 0
    call.route, terms.routed = <MethodRoute?>found[0], found[1]
    _note_name(terms, call, service)
    terms.name = call.route.name
    terms.target = service.method_of(call.route)
    call.flags = call.route.flags & (STREAM_IN | STREAM_OUT)
    if terms.target.is_protobuf:
        return _refuse_protobuf(terms, call)
    if terms.routed is None:
        terms.other_verbs = found[2]
        return terms.refuse_later(call, 405, "")
    head.target_data(&size)
    if size > PyBytes_GET_SIZE(path) and terms.routed.has_body:
        unread = terms.routed.refusal_of_query(head.query)
        if unread is not None:
            return terms.refuse_later(call, 400, f"{call.route.method}: {unread}")
    if not terms.routed.has_body:
        call.wants_head = call.route.gives_stream and head.verb == VERB_HEAD
    elif head.count_of(FIELD_CONTENT_ENCODING):
        return terms.refuse_later(call, 415, f"{call.route.method}: the body of a route has no Content-Encoding")
    elif call.route.takes_stream:
        if kind != BODY_FORM:
            return terms.refuse_later(call, 415, f"{call.route.method}: send Content-Type multipart/form-data")
        return _open_form(terms, call, head)
    elif kind == BODY_PAIRS and terms.routed.takes_pairs:
        terms.has_pairs = True
        if not _may_send_form(terms, head):
            return 0
    elif kind == BODY_MSGPACK and not call.route.gives_stream:
        call.codec = CODEC_MSGPACK
    elif kind != BODY_JSON and not (kind == BODY_NONE and head.content_length == 0):
        return terms.refuse_later(call, 415, f"{call.route.method}: send Content-Type {terms.routed.body_types}")
    return _check_form(terms, call, head)


cdef int _find_web(HttpTerms terms, ServerCall call, RequestHead head, HttpService service, bytes path) except -1:
    """Read the form, timeout and metadata of a call by gRPC-Web or Connect, and find its method."""
    cdef object web = terms.web
    if isinstance(web, tuple):
        terms.web = None
        status, text, lines = web
        return terms.set_fault(status, text, lines)
    call.codec = web.codec
    call.compressor = 0 if web.is_enveloped else web.compressor
    call.received_metadata = web.metadata
    if web.dropped:
        note_dropped(web.dropped, web.protocol, logger, service.gate.dispatcher.has_told_dropped)
        service.gate.dispatcher.has_told_dropped = True
    if not _fits_metadata(terms, call, service.gate.metadata_bytes):
        web.refuse(Status.RESOURCE_EXHAUSTED, too_much_metadata(service.gate.metadata_bytes))
    # As with gRPC, a missing timeout means none: the server's default is for protocols whose callers always state one.
    state_timeout(call, LONGEST_US if web.timeout_us is None else web.timeout_us)
    if web.fault is not None:
        return terms.set_fault(200, web.fault.text, b"")
    return _find_method(terms, call, head, service, path)


cdef int _check_web(HttpTerms terms, ServerCall call) except -1:
    """Check whether the form of a request fits its method."""
    cdef MethodRoute route = call.route
    cdef tuple unfit = terms.web.unfit(
        route.method, bool(route.takes_stream), bool(route.gives_stream),
        is_safe=bool(terms.target.is_safe), is_http1=terms.request is not None,
    )
    call.flags = route.flags & (STREAM_IN | STREAM_OUT)
    if unfit is not None:
        status, text = unfit
        return terms.refuse_later(call, status, text)
    if route.marshal.codec_id == CODEC_RAW and call.codec != CODEC_JSON:
        call.codec = CODEC_RAW
    terms.takes_lines = terms.web.is_enveloped
    return 0


cdef int _find_rpcx(HttpTerms terms, ServerCall call, RequestHead head, HttpService service) except -1:
    """Find the method that the fields of rpcx name."""
    if head.method not in ("POST", "GET", "PUT"):
        terms.rpcx = None
        return terms.set_fault(405, "header gateways take POST, GET or PUT", b"Allow: POST, GET, PUT\r\n")
    if terms.rpcx.problem is None:
        terms.rpcx.problem = take_rpcx_metadata(call, head, terms.rpcx.is_phobos, service.gate)
    if terms.rpcx.problem is not None:
        return terms.set_fault(200, terms.rpcx.problem, b"")
    if call.stated_timeout_us == 0:
        # As in frames of rpcx, 0 means no timeout: the server's default is for protocols whose callers always state one.
        call.stated_timeout_us = TIMEOUT_NONE
    if terms.rpcx.is_phobos and head.field_text(FIELD_CONTENT_ENCODING) == "gzip":
        call.compressor = COMPRESSOR_GZIP
    call.codec = terms.rpcx.codec
    terms.name = terms.rpcx.full_name()
    call.route = service.gate.routes.find(terms.name, PyBytes_GET_SIZE(terms.name))
    return 0 if call.route is None else _note_name(terms, call, service)


cdef int _check_request(HttpTerms terms, ServerCall call, RequestHead head) except -1:
    """Check the verb and the content types of a request for a method at /service/method."""
    cdef MethodRoute route = call.route
    cdef int kind = body_kind(head)
    call.flags = route.flags & (STREAM_IN | STREAM_OUT)
    if terms.target.is_protobuf:
        return _refuse_protobuf(terms, call)
    if head.verb == VERB_GET or head.verb == VERB_HEAD:
        if not terms.target.is_safe or route.takes_stream:
            return terms.refuse_later(call, 405, f"{route.method} is called by POST")
        call.wants_head = route.gives_stream and head.verb == VERB_HEAD
    elif head.verb != VERB_POST:
        return terms.refuse_later(call, 405, f"{route.method} is called by POST")
    elif route.takes_stream:
        if kind == BODY_FORM and terms.target.open_form is not None:
            return _open_form(terms, call, head)
        if kind != BODY_LINES:
            form = "" if terms.target.open_form is None else " or multipart/form-data"
            text = f"{route.method} takes a stream: send Content-Type application/x-ndjson{form}"
            return terms.refuse_later(call, 415, text)
        terms.takes_lines = True
    elif kind == BODY_MSGPACK and not route.gives_stream:
        call.codec = CODEC_MSGPACK
    elif kind != BODY_JSON:
        text = f"{route.method}: send Content-Type application/json or application/msgpack"
        return terms.refuse_later(call, 415, text)
    return _check_form(terms, call, head)


cdef bint _may_send_form(HttpTerms terms, RequestHead head) except -1:
    """Return whether the page that sent a form may send it; if not, set the fault."""
    if terms.origin is not None or takes_form(head):
        return True
    terms.set_fault(403, "pages of that site may not send forms to this server (HTTP.cors_origins)", b"")
    return False


cdef int _open_form(HttpTerms terms, ServerCall call, RequestHead head) except -1:
    """Prepare the reading of a form, whose file is the stream of the call."""
    if not _may_send_form(terms, head):
        return 0
    try:
        terms.file_form = terms.target.open_form(head.field_text(FIELD_CONTENT_TYPE))
    except CallError as error:
        return terms.refuse_later(call, 400, f"{call.route.method}: {error.message}")
    terms.takes_lines = True
    return _check_form(terms, call, head)


cdef int _check_form(HttpTerms terms, ServerCall call, RequestHead head) except -1:
    """Choose how the messages of a streamed answer are written."""
    if call.route.gives_stream:
        terms.form = stream_form(head)
        if terms.form == FORM_NONE:
            text = f"{call.route.method} answers with a stream: accept application/x-ndjson or text/event-stream"
            return terms.refuse_later(call, 406, text)
    return 0


cdef int _refuse_protobuf(HttpTerms terms, ServerCall call) except -1:
    return terms.refuse_later(call, 415, f"{call.route.method} travels by protobuf alone")


cdef int _check_socket(HttpTerms terms, ServerCall call, RequestHead head) except -1:
    """Check the handshake of a WebSocket, and choose its codec."""
    cdef tuple fault = handshake_fault(head), known = SUBPROTOCOLS if terms.path is None else JSON_SUBPROTOCOL
    if terms.path is None:
        call.flags = call.route.flags & (STREAM_IN | STREAM_OUT)
        if terms.target.is_protobuf:
            return _refuse_protobuf(terms, call)
    terms.subprotocol = chosen_protocol(head, known)
    if terms.subprotocol == SUBPROTOCOLS[1]:
        call.codec = CODEC_MSGPACK
    if fault is None and terms.subprotocol is None:
        fault = 400, f"the subprotocol must be {' or '.join(known)}", b""
    if fault is None:
        return 0
    status, text, lines = fault
    if terms.path is None:
        terms.refuse_later(call, status, text)
        terms.fault_lines = lines
        return 0
    return terms.set_fault(status, text, lines)


cdef int _check_encoding(HttpTerms terms, ServerCall call, RequestHead head, dict compressors) except -1:
    cdef Py_ssize_t size = 0
    cdef const char* encoding = head.field_data(FIELD_CONTENT_ENCODING, &size)
    if encoding is NULL or is_text(encoding, size, b"identity"):
        return 0
    if not is_text(encoding, size, b"gzip") or terms.takes_lines or COMPRESSOR_GZIP not in compressors:
        return terms.refuse_later(call, 415, "the Content-Encoding of the body is not accepted here")
    call.compressor = COMPRESSOR_GZIP
    return 0


cdef int _check_path(HttpTerms terms, RequestHead head) except -1:
    """Check a request to a fixed path."""
    verb = "GET" if head.verb == VERB_HEAD else head.method
    if verb not in terms.path.verbs:
        allowed = ", ".join([*terms.path.verbs, *(["HEAD"] if "GET" in terms.path.verbs else [])])
        return terms.set_fault(405, f"this path is called by {allowed}", b"Allow: %b\r\n" % allowed.encode())
    if verb == "POST" and not terms.path.takes(head):
        return terms.set_fault(415, f"send Content-Type {' or '.join(terms.path.content_types)}", b"")
    return 0


cdef bytes _bearer_entry(bytes token):
    return encode_metadata({"authorization": f"Bearer {token.decode('ascii')}"})


@cython.final
cdef class Outcome:

    def __init__(self, bytes value, Failure failure):
        self.value = value
        self.failure = failure


cdef ServerCall new_call(RequestState request, uint64_t now):
    cdef ServerCall call = ServerCall.__new__(ServerCall)
    cdef HttpTerms terms = HttpTerms.__new__(HttpTerms)
    terms.request = request
    terms.protocol = "http"
    call.connection = request.connection
    call.groups = request.groups
    request.connection.begun += 1
    call.id = request.connection.begun
    call.codec = CODEC_JSON
    call.started_ns = now
    call.head = terms
    return call


def shown_protocol(call not None):
    cdef ServerCall served = <ServerCall?>call
    cdef HttpTerms terms
    if served.connection is None or type(served.head) is not HttpTerms:
        return None if served.connection is None else served.protocol_name()
    terms = <HttpTerms>served.head
    if terms.part_of is not None:
        return terms.part_of.partition("?")[0].strip("/")
    return "websocket" if terms.is_open else None

"""A call as its HTTP request describes it, before the gate sees it.

Faults of a request other than its framing are answered after the guards of the gate: a caller that may not call a
method does not learn its verbs. Such a call gets the shape of another kind of method, which the gate refuses there; the
answer is the reason kept in its terms. Faults of the sender are answered at once.
"""

import logging

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
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
from fastrpc._core.http.request_fields cimport asks_socket, chosen_protocol, handshake_fault, has_plain_id
from fastrpc._core.http.request_fields cimport metadata_of, mounted_metadata, timeout_of, token_of
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

# The subprotocols of a call by WebSocket, and of a fixed path.
cdef tuple SUBPROTOCOLS = ("fastrpc.json", "fastrpc.msgpack")
cdef tuple JSON_SUBPROTOCOL = ("fastrpc.json",)

# For clients that offer HTTP/1.1 as well as HTTP/2, such as connect-go.
cdef str GRPC_TEXT = (
    'gRPC is not spoken by HTTP/1.1: name h2 by ALPN, at a port with "grpc" in ServerConfig.protocols'
)
cdef str NO_GRPC_TEXT = 'gRPC is not served here, or not in this format: it is with "grpc" in ServerConfig.protocols'

# A longer timeout counts as no timeout.
cdef uint64_t LONGEST_US = <uint64_t>1_000_000_000_000_000

logger = logging.getLogger("fastrpc.server")


cdef str too_much_metadata(uint32_t limit):
    return f"the metadata is over the limit of {limit} bytes (Limits.metadata_bytes)"


@cython.final
cdef class HttpTerms:

    cdef int understand(self, ServerCall call, RequestHead head, HttpService service) except -1:
        """Read the head of a request: its sender, its method, its form."""
        cdef Py_ssize_t size = 0, path
        cdef const char* target = head.target_data(&size)
        cdef const char* end = <const char*>memchr(target, b"?", <size_t>size)
        path = size if end is NULL else end - target
        if head.protocol is not None and not asks_socket(head):
            # After its answer the bytes of the stream would belong to a tunnel (RFC 8441, section 4).
            return self.set_fault(501, "CONNECT is taken only with :protocol websocket", b"")
        if service.mounts is not None and self._is_mounted(call, head, service, target, path):
            return 0
        if not self._may_ask(call, head, service):
            return 0
        if service.paths:
            self.path = service.paths.get(target[:path])
            self.needs_identity = self.path is not None and self.path.needs_identity
        if service.offers_sockets:
            if self.path is not None:
                self.is_socket = self.path.takes_messages and asks_socket(head)
            elif path > 4 and memcmp(target, b"/ws/", 4) == 0:
                # Service and method follow this prefix, as in any path.
                self.is_socket = True
                target += 3
                path -= 3
        if self.path is None and not self.is_socket and self._is_web(head, service):
            return self._find_web(call, head, service, target, path)
        self._take_fields(call, head, service.gate.metadata_bytes)
        if (service.serves_rpcx or service.serves_phobos) and not self.is_socket:
            if service.serves_rpcx:
                self.rpcx = rpcx_headers(head, target[:path], False)
            if service.serves_phobos and self.rpcx is None:
                self.rpcx = rpcx_headers(head, target[:path], True)
            if self.rpcx is not None:
                self.path = None
                self.needs_identity = False
                return self._find_rpcx(call, head, service)
        if self.path is not None:
            return self._check_socket(call, head) if self.is_socket else self._check_path(head)
        return self._find_method(call, head, service, target, path)

    cdef int understand_stream(self, ServerCall call, RequestHead head, HttpService service, bint has_pages) except -1:
        cdef Py_ssize_t size = 0, path
        cdef const char* target = head.target_data(&size)
        cdef const char* end = <const char*>memchr(target, b"?", <size_t>size)
        path = size if end is NULL else end - target
        self.is_stream = True
        # Paths and applications of pages come first, as by HTTP/1.1.
        if has_pages and self._is_page(call, head, service, target, path):
            return 0
        if not self._may_ask(call, head, service) or not self._is_web(head, service):
            return 0
        return self._find_web(call, head, service, target, path)

    cdef bint _is_page(
        self, ServerCall call, RequestHead head, HttpService service, const char* path, Py_ssize_t size
    ) except -1:
        """Return whether a request is for a fixed path, a WebSocket or an application, which the pages serve."""
        if service.paths and path[:size] in service.paths:
            return True
        return head.protocol is not None or service.mounts is not None and self._is_mounted(call, head, service, path, size)

    cdef bint _is_web(self, RequestHead head, HttpService service) except -1:
        """Return whether a request is a call by gRPC-Web or Connect, or a faulty one."""
        if service.web is None:
            return False
        self.web = service.web(head.method, head.query, head.pairs())
        return self.web is not None

    cdef bint _may_ask(self, ServerCall call, RequestHead head, HttpService service) except -1:
        """Check Host and origin, and answer a preflight; return whether the request is processed further."""
        cdef list origin = []
        if not self._asks_us(head, service, service.hosts):
            return False
        if not takes_page(service, head, origin):
            self.set_fault(403, refused_page_text(service, head), b"")
        elif origin:
            self.origin = origin[0]
            # A page does not have the identity in the browser's certificate.
            call.identity = None
            if is_preflight(head):
                self.set_fault(204, "", preflight_lines(service, head, self.origin))
        if self.fault_status == 0 and is_grpc(head):
            if head.version == "2":
                self.set_fault(415, NO_GRPC_TEXT, b"")
            else:
                self.set_fault(505, GRPC_TEXT, b"")
        return self.fault_status == 0

    cdef bint _asks_us(self, RequestHead head, HttpService service, OwnHosts hosts) except -1:
        """Check the Host; return whether it is this server."""
        if service.takes_host(head, hosts):
            return True
        self.set_fault(421, refused_host_text(head), b"")
        return False

    # Applications

    cdef bint _is_mounted(
        self, ServerCall call, RequestHead head, HttpService service, const char* path, Py_ssize_t size
    ) except -1:
        """Return whether the request is for an application: no path of ours matches."""
        cdef object mount = service.mounts(path[:size])
        if mount is None or self._is_ours(head, service, path, size):
            return False
        if not self._asks_us(head, service, service.hosts if mount.needs_identity else service.open_hosts):
            return True
        self.mount = mount
        self.needs_identity = mount.needs_identity
        self.name = (<MethodRoute?>mount.route).name
        call.route = mount.route
        call.codec = CODEC_RAW
        # A mounted application sets its own time: only `Limits.longest_call` ends the call.
        call.stated_timeout_us = TIMEOUT_NONE
        call.received_metadata = mounted_metadata(head, self.needs_identity)
        self.is_socket = asks_socket(head)
        if self.is_socket:
            self._check_mounted_socket(call, head)
        if not self.needs_identity:
            call.identity = None
        return True

    cdef int _check_mounted_socket(self, ServerCall call, RequestHead head) except -1:
        """Check the handshake of a WebSocket with an application, and take its credential if we have to verify it."""
        cdef tuple fault = handshake_fault(head)
        cdef bytes token = token_of(head) if self.needs_identity else None
        if fault is not None:
            return self.set_fault(fault[0], fault[1], fault[2])
        if token is not None:
            call.received_metadata = (call.received_metadata or b"") + _bearer_entry(token)
        return 0

    cdef bint _is_ours(self, RequestHead head, HttpService service, const char* path, Py_ssize_t size) except -1:
        """Return whether one of our fixed paths, methods or routes serves the request."""
        if service.paths and path[:size] in service.paths:
            return True
        if service.offers_sockets and size > 4 and memcmp(path, b"/ws/", 4) == 0:
            if self._named(service, path + 3, size - 3) is not None:
                return True
        if self._named(service, path, size) is not None and (service.serves_methods or self._is_web(head, service)):
            return True
        if service.serves_rpcx and rpcx_headers(head, path[:size], False) is not None:
            return True
        if service.serves_phobos and rpcx_headers(head, path[:size], True) is not None:
            return True
        if service.routes is None:
            return False
        # By OPTIONS a page asks whether it may send another verb; that verb decides.
        asked = head.values("access-control-request-method") if head.verb == VERB_OPTIONS else []
        found = service.routes(asked[0] if asked else head.method, path[:size])
        return found is not None and found[1] is not None

    cdef int set_fault(self, int status, str text, bytes lines) except -1:
        """Have the request refused at once."""
        self.fault_status = status
        self.fault_text = text
        self.fault_lines = lines
        return 0

    cdef int refuse_later(self, ServerCall call, int status, str text) except -1:
        """Have the request refused after the guards."""
        cdef bytes lines = b""
        if status == 405:
            lines = b"Allow: GET, HEAD, POST\r\n" if self.target.is_safe else b"Allow: POST\r\n"
        self.is_fault_hidden = True
        call.flags = (call.route.flags ^ (STREAM_IN | STREAM_OUT)) & (STREAM_IN | STREAM_OUT)
        self.takes_lines = False
        self.form = FORM_NONE
        return self.set_fault(status, text, lines)

    cdef int _take_fields(self, ServerCall call, RequestHead head, uint32_t metadata_bytes) except -1:
        cdef bint is_stated = False
        cdef uint64_t timeout = timeout_of(head, &is_stated)
        cdef bytes metadata = metadata_of(head), token = token_of(head) if self.is_socket else None
        if token is not None:
            metadata = (metadata or b"") + _bearer_entry(token)
        call.received_metadata = metadata
        if not self.fits_metadata(call, metadata_bytes):
            raise RequestRefusedError(431, too_much_metadata(metadata_bytes))
        if head.count_of(FIELD_REQUEST_ID) and not has_plain_id(head):
            find_request_entry(call, True)
        if is_stated:
            call.stated_timeout_us = TIMEOUT_NONE if timeout >= LONGEST_US else max(timeout, <uint64_t>1)
            if timeout == 0:
                call.deadline_ns = call.started_ns
        return 0

    cdef bint fits_metadata(self, ServerCall call, uint32_t metadata_bytes) except -1:
        """Return whether the metadata of a request is within its limit."""
        cdef bytes metadata = call.received_metadata
        cdef int found = METADATA_OK
        if metadata is not None:
            found = check_metadata(PyBytes_AS_STRING(metadata), PyBytes_GET_SIZE(metadata), metadata_bytes)
        # By gRPC a key may come several times.
        return found == METADATA_OK or self.web is not None and found != METADATA_TOO_LARGE

    cdef int _find_method(
        self, ServerCall call, RequestHead head, HttpService service, const char* path, Py_ssize_t size
    ) except -1:
        """Find the method of a path."""
        self.name = path[:size]
        if service.serves_methods or self.is_socket or self.web is not None:
            call.route = self._named(service, path, size)
        if call.route is None:
            is_route = service.routes is not None and not self.is_socket and self.web is None
            return self._find_route(call, head, service, path, size) if is_route else 0
        self._note_name(call, service)
        self.target = service.method_of(call.route)
        if self.is_socket:
            return self._check_socket(call, head)
        if self.web is not None:
            return self._check_web(call)
        self._check_request(call, head)
        if self.fault_status or head.verb != VERB_POST:
            return 0
        return self._check_encoding(call, head, service.gate.compressors)

    cdef int _note_name(self, ServerCall call, HttpService service) except -1:
        """Note the name by which a method was called, for a refusal."""
        return call.note_name(self.name, PyBytes_GET_SIZE(self.name)) if service.gate.guards.asks_access() else 0

    cdef MethodRoute _named(self, HttpService service, const char* path, Py_ssize_t size):
        """Return the method at `/service/method`, where a service may have dots; or None."""
        cdef char[NAME_BYTES] name
        cdef Py_ssize_t at, slash = 0
        if not 1 < size <= NAME_BYTES:
            return None
        memcpy(name, path + 1, <size_t>(size - 1))
        for at in range(size - 1):
            if name[at] == b"/" and slash == 0:
                slash = at
                name[at] = b"."
            elif name[at] in b"/%" or slash and name[at] == b".":
                return None
        if not 0 < slash < size - 2:
            return None
        self.name = name[:size - 1]
        return service.gate.routes.find(name, size - 1)

    cdef int _find_route(
        self, ServerCall call, RequestHead head, HttpService service, const char* path, Py_ssize_t size
    ) except -1:
        """Find the method of a route, and check verb and type of the request."""
        cdef tuple found = service.routes(head.method, path[:size])
        cdef int kind = body_kind(head)
        if found is None:
            return 0
        call.route, self.routed = <MethodRoute?>found[0], found[1]
        self._note_name(call, service)
        self.name = call.route.name
        self.target = service.method_of(call.route)
        call.flags = call.route.flags & (STREAM_IN | STREAM_OUT)
        if self.target.is_protobuf:
            return self._refuse_protobuf(call)
        if self.routed is None:
            self.other_verbs = found[2]
            return self.refuse_later(call, 405, "")
        # The path is in the head, before its query.
        if path[size] == b"?" and self.routed.has_body:
            unread = self.routed.refusal_of_query(head.query)
            if unread is not None:
                return self.refuse_later(call, 400, f"{call.route.method}: {unread}")
        if not self.routed.has_body:
            call.wants_head = call.route.gives_stream and head.verb == VERB_HEAD
        elif head.count_of(FIELD_CONTENT_ENCODING):
            return self.refuse_later(call, 415, f"{call.route.method}: the body of a route has no Content-Encoding")
        elif call.route.takes_stream:
            if kind != BODY_FORM:
                return self.refuse_later(call, 415, f"{call.route.method}: send Content-Type multipart/form-data")
            return self._open_form(call, head)
        elif kind == BODY_PAIRS and self.routed.takes_pairs:
            self.has_pairs = True
            if not self._may_send_form(head):
                return 0
        elif kind == BODY_MSGPACK and not call.route.gives_stream:
            call.codec = CODEC_MSGPACK
        elif kind != BODY_JSON and not (kind == BODY_NONE and head.content_length == 0):
            return self.refuse_later(call, 415, f"{call.route.method}: send Content-Type {self.routed.body_types}")
        return self._check_form(call, head)

    cdef bytes payload_of(self, ServerCall call, RequestHead head, bytes body):
        """Return the arguments of a request; if they do not fit, it is refused after the guards."""
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
                return self.target.arguments(head.query)
        except CallError as error:
            self.refuse_later(call, 400, f"{call.method}: {error.message}")
        return body

    cdef int _find_web(
        self, ServerCall call, RequestHead head, HttpService service, const char* path, Py_ssize_t size
    ) except -1:
        """Take form, timeout and metadata of a call by gRPC-Web or Connect, and find its method."""
        cdef object web = self.web, timeout_us
        if isinstance(web, tuple):
            self.web = None
            status, text, lines = web
            return self.set_fault(status, text, lines)
        call.codec = web.codec
        call.compressor = 0 if web.is_enveloped else web.compressor
        call.received_metadata = web.metadata
        if web.dropped:
            note_dropped(web.dropped, web.protocol, logger, service.gate.dispatcher.has_told_dropped)
            service.gate.dispatcher.has_told_dropped = True
        if not self.fits_metadata(call, service.gate.metadata_bytes):
            web.refuse(Status.RESOURCE_EXHAUSTED, too_much_metadata(service.gate.metadata_bytes))
        timeout_us = web.timeout_us
        # As by gRPC: the server's default applies only to protocols in which every caller states a time.
        call.stated_timeout_us = TIMEOUT_NONE
        if timeout_us is not None and timeout_us < LONGEST_US:
            call.stated_timeout_us = max(<uint64_t>timeout_us, <uint64_t>1)
        if timeout_us == 0:
            call.deadline_ns = call.started_ns
        if web.fault is not None:
            return self.set_fault(200, web.fault.text, b"")
        return self._find_method(call, head, service, path, size)

    cdef int _check_web(self, ServerCall call) except -1:
        """Check whether the form of a request fits its method."""
        cdef MethodRoute route = call.route
        cdef tuple unfit = self.web.unfit(
            route.method, bool(route.takes_stream), bool(route.gives_stream),
            is_safe=bool(self.target.is_safe), is_http1=not self.is_stream,
        )
        call.flags = route.flags & (STREAM_IN | STREAM_OUT)
        if unfit is not None:
            status, text = unfit
            return self.refuse_later(call, status, text)
        if route.marshal.codec_id == CODEC_RAW and call.codec != CODEC_JSON:
            call.codec = CODEC_RAW
        self.takes_lines = self.web.is_enveloped
        return 0

    cdef int _find_rpcx(self, ServerCall call, RequestHead head, HttpService service) except -1:
        """Find the method that the fields of rpcx name."""
        if head.method not in ("POST", "GET", "PUT"):
            self.rpcx = None
            return self.set_fault(405, "header gateways take POST, GET or PUT", b"Allow: POST, GET, PUT\r\n")
        if self.rpcx.problem is None:
            self.rpcx.problem = take_rpcx_metadata(call, head, self.rpcx.is_phobos, service.gate)
        if self.rpcx.problem is not None:
            return self.set_fault(200, self.rpcx.problem, b"")
        if call.stated_timeout_us == 0:
            # As for frames of rpcx: the server's default applies only to protocols in which every caller states a time.
            call.stated_timeout_us = TIMEOUT_NONE
        if self.rpcx.is_phobos and head.field_text(FIELD_CONTENT_ENCODING) == "gzip":
            call.compressor = COMPRESSOR_GZIP
        call.codec = self.rpcx.codec
        self.name = self.rpcx.full_name()
        call.route = service.gate.routes.find(self.name, PyBytes_GET_SIZE(self.name))
        return 0 if call.route is None else self._note_name(call, service)

    cdef int _check_request(self, ServerCall call, RequestHead head) except -1:
        """Check verb and types."""
        cdef MethodRoute route = call.route
        cdef int kind = body_kind(head)
        call.flags = route.flags & (STREAM_IN | STREAM_OUT)
        if self.target.is_protobuf:
            return self._refuse_protobuf(call)
        if head.verb == VERB_GET or head.verb == VERB_HEAD:
            if not self.target.is_safe or route.takes_stream:
                return self.refuse_later(call, 405, f"{route.method} is called by POST")
            call.wants_head = route.gives_stream and head.verb == VERB_HEAD
        elif head.verb != VERB_POST:
            return self.refuse_later(call, 405, f"{route.method} is called by POST")
        elif route.takes_stream:
            if kind == BODY_FORM and self.target.open_form is not None:
                return self._open_form(call, head)
            if kind != BODY_LINES:
                form = "" if self.target.open_form is None else " or multipart/form-data"
                text = f"{route.method} takes a stream: send Content-Type application/x-ndjson{form}"
                return self.refuse_later(call, 415, text)
            self.takes_lines = True
        elif kind == BODY_MSGPACK and not route.gives_stream:
            call.codec = CODEC_MSGPACK
        elif kind != BODY_JSON:
            text = f"{route.method}: send Content-Type application/json or application/msgpack"
            return self.refuse_later(call, 415, text)
        return self._check_form(call, head)

    cdef bint _may_send_form(self, RequestHead head) except -1:
        """Return whether a form is allowed from its origin; otherwise it is refused."""
        if self.origin is not None or takes_form(head):
            return True
        self.set_fault(403, "pages of that site may not send forms to this server (HTTP.cors_origins)", b"")
        return False

    cdef int _open_form(self, ServerCall call, RequestHead head) except -1:
        """Take a form, whose file is the stream of the call."""
        if not self._may_send_form(head):
            return 0
        try:
            self.file_form = self.target.open_form(head.field_text(FIELD_CONTENT_TYPE))
        except CallError as error:
            return self.refuse_later(call, 400, f"{call.route.method}: {error.message}")
        self.takes_lines = True
        return self._check_form(call, head)

    cdef int _check_form(self, ServerCall call, RequestHead head) except -1:
        """Choose the form of a stream of answers."""
        if call.route.gives_stream:
            self.form = stream_form(head)
            if self.form == FORM_NONE:
                text = f"{call.route.method} answers with a stream: accept application/x-ndjson or text/event-stream"
                return self.refuse_later(call, 406, text)
        return 0

    cdef int _refuse_protobuf(self, ServerCall call) except -1:
        return self.refuse_later(call, 415, f"{call.route.method} travels by protobuf alone")

    cdef int _check_socket(self, ServerCall call, RequestHead head) except -1:
        """Check the handshake of a WebSocket, and choose its codec."""
        cdef tuple fault = handshake_fault(head), known = SUBPROTOCOLS if self.path is None else JSON_SUBPROTOCOL
        if self.path is None:
            call.flags = call.route.flags & (STREAM_IN | STREAM_OUT)
            if self.target.is_protobuf:
                return self._refuse_protobuf(call)
        self.subprotocol = chosen_protocol(head, known)
        if self.subprotocol == SUBPROTOCOLS[1]:
            call.codec = CODEC_MSGPACK
        if fault is None and self.subprotocol is None:
            fault = 400, f"the subprotocol is {' or '.join(known)}", b""
        if fault is None:
            return 0
        status, text, lines = fault
        if self.path is None:
            self.refuse_later(call, status, text)
            self.fault_lines = lines
            return 0
        return self.set_fault(status, text, lines)

    cdef int _check_encoding(self, ServerCall call, RequestHead head, dict compressors) except -1:
        cdef Py_ssize_t size = 0
        cdef const char* encoding = head.field_data(FIELD_CONTENT_ENCODING, &size)
        if encoding is NULL or is_text(encoding, size, b"identity"):
            return 0
        if not is_text(encoding, size, b"gzip") or self.takes_lines or COMPRESSOR_GZIP not in compressors:
            return self.refuse_later(call, 415, "the body has a Content-Encoding that is not taken here")
        call.compressor = COMPRESSOR_GZIP
        return 0

    cdef int _check_path(self, RequestHead head) except -1:
        """Check a request to a fixed path."""
        verb = "GET" if head.verb == VERB_HEAD else head.method
        if verb not in self.path.verbs:
            allowed = ", ".join([*self.path.verbs, *(["HEAD"] if "GET" in self.path.verbs else [])])
            return self.set_fault(405, f"this path is called by {allowed}", b"Allow: %b\r\n" % allowed.encode())
        if verb == "POST" and not self.path.takes(head):
            return self.set_fault(415, f"send Content-Type {' or '.join(self.path.content_types)}", b"")
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
        return None if served.connection is None else served.connection.protocol_of(served)
    terms = <HttpTerms>served.head
    if terms.part_of is not None:
        return terms.part_of.partition("?")[0].strip("/")
    return "websocket" if terms.is_open else None

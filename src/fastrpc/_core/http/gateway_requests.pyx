"""The requests of one exchange of the gateway, from their heads until the gate has their calls.

::

    head ──► Host, origin ──► fixed path ────────────────────────────► the handler of the path
                        └──► method, verb, type ──► body ──► pass_in ──► Gate.pass_in ──► handler

At its head a request gets its call, its `Answering` and, if its body arrives in parts, its `BodyReading`. HttpOutcomes
passes outcomes of calls to the `Answering`. A request for a WebSocket is judged by its head alone; SocketTalk
continues. By HTTP/1.1 an exchange has one request after the other, by HTTP/2 it has one.

A long body is read once its sender is known (`request_sender`). A request to a mounted application is a call without a
method: the gate counts and bounds it, and MountedRequest has its body and its response.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.instants cimport earlier
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.bodies cimport reading_of
from fastrpc._core.http.foreign_answerings cimport answering_of
from fastrpc._core.http.http_call cimport HttpTerms, new_call, terms_of
from fastrpc._core.http.mounted_request cimport MountedRequest
from fastrpc._core.http.path_exchange cimport new_path_exchange
from fastrpc._core.http.request_fields cimport is_long
from fastrpc._core.http.request_intake cimport check_rest, count_body, pass_in
from fastrpc._core.http.request_sender cimport admit, check_sender, identify
from fastrpc._core.http.request_state cimport BodyReading, is_under_way
from fastrpc._core.http.responses cimport fault_answer, refusal_answer, status_of_refusal
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall, take_client
from fastrpc._core.server.stopped_handlers cimport cancel_in_read
from fastrpc._core.websocket.frames cimport CLOSE_RESTART

from fastrpc._core.http.mounted_socket import MountedSocket
from fastrpc._core.http.socket_talk import SocketTalk


@cython.final
cdef class GatewayRequests(RequestState):
    """The requests of one exchange of the gateway."""

    # The WebSocket that the request has become, or None.
    cdef inline SocketEnd socket(self):
        return <SocketEnd>self.talk

    # From the head of a request to its call

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        cdef RequestHead head = exchange.head
        cdef ServerCall call
        cdef HttpTerms terms
        self._forget()
        self.connection.now = self.connection.received_ns = exchange.engine().now
        call = self.call = new_call(self, exchange.date())
        terms = terms_of(call)
        if self.service.proxies is not None:
            _follow_proxy(self, call, terms, head)
        if terms.fault_status == 0:
            terms.understand(call, head, self.service)
        if terms.fault_status == 0 and call.route is not None and (call.route.takes_stream or call.route.gives_stream):
            crowded = exchange.count_messages()
            if crowded is not None:
                terms.takes_lines = False
                terms.set_fault(503, crowded, b"")
        terms.answering = answering_of(terms)
        exchange.takes_parts = terms.takes_lines or terms.mount is not None and is_long(head)
        if terms.takes_lines or terms.mount is not None:
            self.body = reading_of(terms)
        # The client is not asked for the body before the application wants it: the application may refuse it.
        exchange.asks_later = terms.mount is not None and head.expects_continue and head.has_body
        if terms.mount is not None:
            terms.speak(call, "asgi")
        elif terms.web is not None:
            # gRPC-Web and Connect keep initial metadata and trailers apart, as gRPC does.
            call.has_trailers = True
            terms.speak(call, terms.web.protocol)
        if terms.needs_identity and self.service.gate.guards.asks_access():
            identify(self, exchange, call)
        return admit(self, exchange, call, terms, head)

    cdef int _forget(self) except -1:
        """Forget the previous request, even if a step of this raises."""
        cdef SocketEnd socket = self.socket()
        cdef BodyReading body = self.body
        if self.sender_check is not None:
            self.sender_check.drop()
        self.leaves_body = self.has_started = False
        self.sign_due_ns = 0
        self.talk = None
        self.call = None
        self.parts = None
        self.body = None
        try:
            return 0 if socket is None else socket.drop()
        finally:
            if body is not None and body.held():
                self.exchange().engine().tail_changed(-body.held())

    # From the body to the gate

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        cdef Engine engine
        cdef bytes payload
        cdef ServerCall call = self.call
        cdef HttpTerms terms = terms_of(call)
        if terms.fault_status and not terms.is_fault_hidden:
            return _answer_fault(self, exchange, call, terms)
        if terms.mount is not None:
            return _enter_application(self, exchange, call, terms, body)
        if terms.is_socket and not terms.fault_status and (terms.path is not None or call.route is not None):
            # From now on the bytes are frames of a WebSocket, not HTTP.
            self.talk = <SocketEnd>SocketTalk(call)
            terms.speak(call, "websocket")
            return self.socket().begin(exchange, terms.subprotocol, b"")
        if terms.path is not None:
            if call.charge:
                # Stop counting the body: the calls that the handler of the path makes are counted separately.
                self.service.gate.memory.charge(call, 0)
            terms.path.serve(new_path_exchange(exchange, call, False), body, call.identity)
            engine = exchange.engine()
            if outlasts_turn(PyBytes_GET_SIZE(body), engine.turn_ends_ns):
                engine.messages_left = 0
            return 0
        if exchange.takes_parts:
            # The arguments are the first line of the body or its messages; only a stream of messages starts without them.
            return 0 if terms.web is None or not call.route.takes_stream else pass_in(self, b"")
        if terms.web is not None and terms.web.payload is not None:
            payload = terms.web.payload
            return pass_in(self, payload)
        return pass_in(self, terms.payload_of(call, exchange.head, body))

    # A tunnel

    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        return self.socket().take_bytes(exchange, data, size)

    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0:
        return 0 if self.talk is None else self.socket().check(exchange, now)

    cdef int end_tunnel(self, Exchange exchange, str text) except -1:
        return 0 if self.talk is None else self.socket().close(exchange, CLOSE_RESTART, text)

    # The body

    cdef int body_awaited(self, Exchange exchange) except -1:
        cdef ServerCall call = self.call
        if call is None:
            return 0
        if terms_of(call).mount is not None and not (exchange.is_deciding or terms_of(call).fault_status):
            # A short body is incomplete: the application begins before its rest arrives.
            exchange.takes_parts = True
        return 0 if self.has_started else self.service.gate.await_rest(call)

    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1:
        # A request that is already answered needs no further part. The local variables hold both: the request may end
        # with a part, which clears the attributes.
        cdef ServerCall call = self.call
        cdef BodyReading body = self.body
        return 0 if call is None or body is None else body.part(self, call, part, is_last)

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        return count_body(self, size)

    cdef int request_dropped(self, Exchange exchange) except -1:
        cdef ServerCall call = self.call
        cdef set parts = self.parts
        try:
            return self._forget()
        finally:
            _stop_calls(self, exchange, call, parts)

    cdef int exchange_over(self, Exchange exchange) except -1:
        try:
            return self._forget()
        finally:
            exchange.known_at = NULL
            self._exchange = NULL

    cdef tuple refusal_of(self, Exchange exchange, object error):
        # Without a head there is no request, and without a call the request is over.
        if exchange.head is not None and self.call is not None and not (self.has_started or self.call.was_ended):
            self.call.was_ended = True
            _note_unstarted(self, self.call, status_of_refusal(error.status), error.text)
        return refusal_answer(exchange.head, self.call, error.status, error.text)

    # Room and time

    cdef int room_came(self, Exchange exchange) except -1:
        cdef ServerCall call = self.call
        return 0 if call is None else terms_of(call).answering.room(exchange, call)

    cdef uint64_t request_due(self, Exchange exchange, uint64_t now) except? 0:
        cdef uint64_t due
        if self._exchange is NULL or not exchange.is_open():
            return 0
        due = earlier(check_rest(self, now), check_sender(self, exchange, now))
        if self.talk is not None and not exchange.is_stuck and self.socket().has_expired(now):
            due = earlier(due, self.socket().check(exchange, now))
        return earlier(due, _send_sign(self, exchange, now)) if exchange.is_open() else 0


cdef int _follow_proxy(GatewayRequests requests, ServerCall call, HttpTerms terms, RequestHead head) except -1:
    """Set the client behind a trusted proxy as the peer of this request, or refuse the request."""
    cdef object found = requests.service.proxies.client_of(
        requests.connection.peer_info, head.values("x-forwarded-for"), head.values("x-forwarded-proto")
    )
    cdef tuple refusal = take_client(call, found, terms.protocol)
    return 0 if refusal is None else terms.set_fault(refusal[0], refusal[1], b"")


cdef int _enter_application(
    GatewayRequests requests, Exchange exchange, ServerCall call, HttpTerms terms, bytes body
) except -1:
    """Pass a request to the application at its path; a long body is passed later."""
    cdef MountedRequest request
    if terms.needs_identity and call.identity is None:
        terms.set_fault(401, "the caller is not authenticated", b"")
        return _answer_fault(requests, exchange, call, terms)
    terms.mounted = request = MountedRequest(requests, call)
    if terms.is_socket:
        MountedSocket(request)
    elif not exchange.takes_parts:
        request.put(body, True)
    return pass_in(requests, body)


cdef int _note_unstarted(GatewayRequests requests, ServerCall call, int status, str text) except -1:
    """Count a refused request as a call, unless it names a path of the server itself, whose requests are no calls."""
    if terms_of(call).path is None:
        requests.service.gate.refusals.note(call, status, text)
    return 0


cdef int _answer_fault(GatewayRequests requests, Exchange exchange, ServerCall call, HttpTerms terms) except -1:
    """Answer a faulty request without passing it to the gate."""
    # A preflight request has the status 204.
    if terms.fault_status != 204:
        told = status_of_refusal(terms.fault_status) if terms.web is None else terms.web.fault.status
        _note_unstarted(requests, call, told, terms.fault_text)
    if call.charge:
        # Stop counting the part of the body that arrived.
        requests.service.gate.memory.charge(call, 0)
    status, lines, content = fault_answer(call, terms, exchange.head)
    if status >= 400:
        exchange.note_refused(True)
    return requests.conclude(exchange, call, status, lines, content)


cdef int _stop_calls(GatewayRequests requests, Exchange exchange, ServerCall call, set parts) except -1:
    """Stop the calls of a request whose client is gone."""
    cdef Gate gate = requests.service.gate
    cdef ServerCall part
    if call is not None and terms_of(call).mounted is not None:
        # Free the body here: a call that waits for its start has no handler to do it.
        (<MountedRequest>terms_of(call).mounted).leave()
    if call is not None and not call.is_held and call.charge and call.waiting_payload is None:
        gate.memory.charge(call, 0)
    if exchange.is_alone:
        # The connection ends with the request, and the gate stops all calls of the connection.
        parts = None
        if call is not None and not call.is_held:
            call = None
    for part in (call, *(parts or ())):
        if is_under_way(part):
            cancel_in_read(exchange.engine(), gate, part, False)
    return 0


cdef uint64_t _send_sign(GatewayRequests requests, Exchange exchange, uint64_t now) except? 0:
    """Send the sign of life of a stream if it is due: its head, and a comment among events; return when the next is due.
    """
    cdef ServerCall call = requests.call
    if requests.sign_due_ns == 0 or now < requests.sign_due_ns:
        return requests.sign_due_ns
    requests.sign_due_ns = 0
    # No sign is sent for a call that was answered, or that waits for its start and may still be refused.
    if call is None or call.was_ended or not (exchange.has_begun or call.is_held and call.given is not None):
        return 0
    terms_of(call).answering.sign(exchange, call, now)
    return requests.sign_due_ns


cdef RequestState new_requests(
    Exchange exchange, EngineServedConnection connection, ContractGroups groups, HttpService service, object keepalive
):
    cdef GatewayRequests requests = GatewayRequests.__new__(GatewayRequests)
    requests.join(exchange)
    requests.connection = connection
    requests.groups = groups
    requests.service = service
    requests.keepalive = keepalive
    return requests

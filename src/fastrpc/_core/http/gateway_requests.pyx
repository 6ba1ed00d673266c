"""The requests of one connection of the gateway, from their heads to the gate.

::

    head ──► Host, origin ──► fixed path ────────────────────────────► what is there answers
                        └──► method, verb, type ──► body ──► RequestIntake ──► Gate.pass_in ──► handler

At its head a request gets its call, its `Answering` and, if its body arrives in parts, its `BodyReading`.
HttpServedConnection leads from there to responses. A request for a WebSocket is judged by its head alone; SocketTalk
continues.

RequestSender reads a long body once its sender is known. A request to a mounted application is a call without a method: the
gate counts and bounds it, and MountedRequest has its body and its response.
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
from fastrpc._core.http.mounted_socket cimport MountedSocket
from fastrpc._core.http.path_exchange cimport new_path_exchange
from fastrpc._core.http.request_fields cimport is_long
from fastrpc._core.http.request_intake cimport new_intake
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.responses cimport fault_answer, refusal_answer, status_of_refusal
from fastrpc._core.http.socket_talk cimport SocketTalk
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayRequests(HttpApplication):
    """Answers the requests of one connection of the gateway."""

    # From the head of a request to its call

    cdef int64_t head_came(self, Exchange exchange) except? -2:
        cdef HttpServedConnection served = self.served()
        cdef RequestHead head = exchange.head
        cdef ServerCall call
        cdef HttpTerms terms
        self._forget()
        served.now = served.received_ns = exchange.engine().now
        call = served.call = new_call(served, exchange.date())
        terms = terms_of(call)
        if self.service.proxies is not None:
            served.follow_proxy(call, head)
        if terms.fault_status == 0:
            terms.understand(call, head, self.service)
        terms.answering = answering_of(terms)
        exchange.takes_parts = terms.takes_lines or terms.mount is not None and is_long(head)
        if terms.takes_lines or terms.mount is not None:
            self.intake.body = reading_of(terms)
        # An application may refuse a body that it has not seen.
        exchange.asks_later = terms.mount is not None and head.expects_continue and head.has_body
        if terms.mount is not None:
            served.speak("asgi")
        elif self.service.web is not None or self.service.mounts is not None:
            served.speak("http" if terms.web is None else terms.web.protocol)
        if terms.needs_identity and self.gate.asks_access():
            self.sender.identify(exchange, served, call)
        return self.sender.admit(exchange, served, call, terms, head)

    cdef int _forget(self) except -1:
        """Forget the request before."""
        cdef HttpServedConnection served = self.served()
        if served.talk is not None:
            served.talk.drop()
        self.sender.drop()
        served.forget()
        return self.intake.forget()

    # From the body to the gate

    cdef int request_came(self, Exchange exchange, bytes body) except -1:
        cdef Engine engine
        cdef bytes payload
        cdef ServerCall call = self.served().call
        cdef HttpTerms terms = terms_of(call)
        if terms.fault_status and not terms.is_fault_hidden:
            return self._answer_fault(exchange, call, terms)
        if terms.mount is not None:
            return self._enter_application(exchange, call, terms, body)
        if terms.is_socket and not terms.fault_status and (terms.path is not None or call.route is not None):
            return self._upgrade(exchange, call, terms)
        if terms.path is not None:
            if call.charge:
                # The calls that the path makes are counted separately.
                self.gate.memory.charge(call, 0)
            terms.path.serve(new_path_exchange(exchange, self.served(), False), body, call.identity)
            engine = exchange.engine()
            if outlasts_turn(PyBytes_GET_SIZE(body), engine.turn_ends_ns):
                engine.messages_left = 0
            return 0
        if exchange.takes_parts:
            # Its arguments come in its first line, or are the messages of its body.
            return 0 if terms.web is None or not call.route.takes_stream else self.intake.pass_in(b"")
        if terms.web is not None and terms.web.payload is not None:
            payload = terms.web.payload
            return self.intake.pass_in(payload)
        return self.intake.pass_in(terms.payload_of(call, exchange.head, body))

    cdef int _enter_application(self, Exchange exchange, ServerCall call, HttpTerms terms, bytes body) except -1:
        """Hand a request to the application at its path; a long body follows."""
        cdef MountedRequest request
        if terms.needs_identity and call.identity is None:
            terms.set_fault(401, "the caller is not authenticated", b"")
            return self._answer_fault(exchange, call, terms)
        terms.mounted = request = MountedRequest(self.served(), call, exchange)
        if terms.is_socket:
            MountedSocket(request, self.served())
        elif not exchange.takes_parts:
            request.put(body, True)
        return self.intake.pass_in(body)

    # A WebSocket

    cdef int _upgrade(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1:
        """End the handshake of a WebSocket: what follows is no HTTP."""
        cdef SocketTalk talk = SocketTalk(self.service, call)
        self.served().talk = talk
        self.served().speak("websocket")
        return talk.begin(exchange, terms.subprotocol, b"")

    cdef Py_ssize_t tunnel_came(self, Exchange exchange, const char* data, Py_ssize_t size) except -1:
        return self.served().talk.take_bytes(exchange, data, size)

    cdef uint64_t tunnel_due(self, Exchange exchange, uint64_t now) except? 0:
        cdef HttpServedConnection served = self.served()
        return 0 if served.talk is None else served.talk.check(exchange, now)

    # Faults

    cdef int _answer_fault(self, Exchange exchange, ServerCall call, HttpTerms terms) except -1:
        """Answer a request that the gate does not see."""
        cdef bint leaves_body = self.served().leaves_body
        if terms.mount is not None and terms.fault_status in (401, 403):
            self.gate.count_refused(call, status_of_refusal(terms.fault_status), terms.fault_text)
        status, lines, content = fault_answer(call, terms, exchange.head)
        return exchange.answer(status, lines, content, leaves_body)

    cdef tuple refusal_of(self, Exchange exchange, object error):
        return refusal_answer(exchange.head, self.served().call, error.status, error.text)

    cdef int body_awaited(self, Exchange exchange) except -1:
        cdef ServerCall call = self.served().call
        if call is None:
            return 0
        if terms_of(call).mount is not None and not (exchange.is_deciding or terms_of(call).fault_status):
            # An application begins without the rest of a short body.
            exchange.takes_parts = True
        return 0 if self.intake.has_started else self.gate.await_rest(call)

    cdef int part_came(self, Exchange exchange, bytes part, bint is_last) except -1:
        return self.intake.part_came(part, is_last)

    cdef int body_grew(self, Exchange exchange, Py_ssize_t size) except -1:
        return self.intake.grew(size)

    cdef int request_dropped(self, Exchange exchange) except -1:
        cdef HttpServedConnection served = self.served()
        cdef ServerCall call = served.call
        self._forget()
        if call is not None:
            if served.held and call in served.held:
                self.gate.cancel(call, False)
            elif call.charge and call.waiting_payload is None:
                self.gate.memory.charge(call, 0)
        return 0

    # Time

    cdef uint64_t check(self, Exchange exchange, uint64_t now) except? 0:
        """Answer a request that is late with the rest of its body, or with its sender; return when to look again."""
        if exchange.engine().is_closed:
            return 0
        return earlier(self.intake.check_rest(now), self.sender.check(exchange, self.served(), now))


cdef GatewayRequests new_requests(Exchange exchange, HttpServedConnection served):
    cdef GatewayRequests requests = GatewayRequests.__new__(GatewayRequests)
    requests.service = served.service
    requests.gate = <Gate>served.gate
    requests._served = <PyObject*>served
    requests.intake = new_intake(exchange, served)
    requests.sender = RequestSender()
    return requests

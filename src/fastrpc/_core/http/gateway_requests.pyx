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
from fastrpc._core.http.request_fields cimport is_long
from fastrpc._core.http.request_intake cimport new_intake
from fastrpc._core.http.request_sender cimport RequestSender
from fastrpc._core.http.responses cimport fault_answer, refusal_answer, status_of_refusal
from fastrpc._core.http.socket_talk cimport SocketTalk
from fastrpc._core.http1.connection cimport HttpConnection
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.loop.turns cimport outlasts_turn
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class GatewayRequests(HttpApplication):
    """Answers the requests of one connection of the gateway."""

    # From the head of a request to its call

    cdef int64_t head_came(self, Engine connection, RequestHead head) except? -2:
        cdef HttpConnection engine = <HttpConnection>connection
        cdef ServerCall call
        cdef HttpTerms terms
        self._forget(engine)
        self.served.now = self.served.received_ns = engine.now
        call = self.served.call = new_call(self.served, engine.date())
        terms = terms_of(call)
        if self.service.proxies is not None:
            self.served.follow_proxy(call, head)
        if terms.fault_status == 0:
            terms.understand(call, head, self.service)
        terms.answering = answering_of(terms)
        engine.takes_parts = terms.takes_lines or terms.mount is not None and is_long(head)
        if terms.takes_lines or terms.mount is not None:
            self.intake.body = reading_of(terms)
        # An application may refuse a body that it has not seen.
        engine.asks_later = terms.mount is not None and head.expects_continue and head.has_body
        if terms.mount is not None:
            self.served.speak("asgi")
        elif self.service.web is not None or self.service.mounts is not None:
            self.served.speak("http" if terms.web is None else terms.web.protocol)
        if terms.needs_identity and self.gate.asks_access():
            self.sender.identify(engine, self.served, call)
        return self.sender.admit(engine, self.served, call, terms, head)

    cdef int _forget(self, HttpConnection engine) except -1:
        """Forget the request before."""
        if self.served.talk is not None:
            self.served.talk.drop(engine)
        self.sender.drop()
        self.served.forget()
        return self.intake.forget()

    # From the body to the gate

    cdef int request_came(self, Engine connection, RequestHead head, bytes body) except -1:
        cdef HttpConnection engine = <HttpConnection>connection
        cdef bytes payload
        cdef ServerCall call = self.served.call
        cdef HttpTerms terms = terms_of(call)
        if terms.fault_status and not terms.is_fault_hidden:
            return self._answer_fault(engine, call, terms)
        if terms.mount is not None:
            return self._enter_application(engine, call, terms, body)
        if terms.is_socket and not terms.fault_status and (terms.path is not None or call.route is not None):
            return self._upgrade(engine, call, terms)
        if terms.path is not None:
            if call.charge:
                # The calls that the path makes are counted separately.
                self.gate.memory.charge(call, 0)
            terms.path.serve(engine, head, body, call.identity)
            if outlasts_turn(PyBytes_GET_SIZE(body), engine.turn_ends_ns):
                engine.messages_left = 0
            return 0
        if engine.takes_parts:
            # Its arguments are in its first line, or are the messages of its body.
            return 0 if terms.web is None or not call.route.takes_stream else self.intake.pass_in(b"")
        if terms.web is not None and terms.web.payload is not None:
            payload = terms.web.payload
            return self.intake.pass_in(payload)
        return self.intake.pass_in(terms.payload_of(call, head, body))

    cdef int _enter_application(self, HttpConnection engine, ServerCall call, HttpTerms terms, bytes body) except -1:
        """Hand a request to the application at its path; a long body follows."""
        cdef MountedRequest request
        if terms.needs_identity and call.identity is None:
            terms.set_fault(401, "the caller is not authenticated", b"")
            return self._answer_fault(engine, call, terms)
        terms.exchange = request = MountedRequest(self.served, call, engine.head)
        if terms.is_socket:
            MountedSocket(request, self.served)
        elif not engine.takes_parts:
            request.put(body, True)
        return self.intake.pass_in(body)

    # A WebSocket

    cdef int _upgrade(self, HttpConnection engine, ServerCall call, HttpTerms terms) except -1:
        """End the handshake of a WebSocket: what follows is no HTTP."""
        cdef SocketTalk talk = SocketTalk(self.service, call)
        self.served.become(talk)
        talk.begin(engine, terms.subprotocol, b"")
        terms.is_open = True
        if engine.is_draining:
            (<object>engine).begin_drain()
        return 0

    cdef Py_ssize_t upgraded_came(self, Engine connection, const char* data, Py_ssize_t size) except -1:
        return self.served.talk.take_bytes(<HttpConnection>connection, data, size)

    cdef uint64_t upgraded_due(self, Engine connection, uint64_t now) except? 0:
        return 0 if self.served.talk is None else self.served.talk.check(<HttpConnection>connection, now)

    # Faults

    cdef int _answer_fault(self, HttpConnection engine, ServerCall call, HttpTerms terms) except -1:
        """Answer a request that the gate does not see."""
        cdef bint leaves_body = self.served.leaves_body
        if terms.mount is not None and terms.fault_status in (401, 403):
            self.gate.count_refused(call, status_of_refusal(terms.fault_status), terms.fault_text)
        status, lines, content = fault_answer(call, terms, engine.head)
        return engine.answer(status, lines, content, leaves_body)

    cdef bytes refusal_of(self, Engine connection, object error):
        lines, document = refusal_answer((<HttpConnection>connection).head, self.served.call, error.status, error.text)
        return lines + b"Content-Length: %d\r\n\r\n" % len(document) + document

    cdef int body_awaited(self, Engine connection) except -1:
        cdef HttpConnection engine = <HttpConnection>connection
        cdef ServerCall call = self.served.call
        if call is None:
            return 0
        if terms_of(call).mount is not None and not (engine.is_deciding or terms_of(call).fault_status):
            # An application begins without the rest of a short body.
            engine.takes_parts = True
        return 0 if self.intake.has_started else self.gate.await_rest(call)

    cdef int part_came(self, Engine connection, bytes part, bint is_last) except -1:
        return self.intake.part_came(part, is_last)

    cdef int body_grew(self, Engine connection, Py_ssize_t size) except -1:
        return self.intake.grew(size)

    cdef int request_dropped(self, Engine connection) except -1:
        cdef ServerCall call = self.served.call
        self._forget(<HttpConnection>connection)
        if call is not None:
            if self.served.held and call in self.served.held:
                self.gate.cancel(call, False)
            elif call.charge and call.waiting_payload is None:
                self.gate.memory.charge(call, 0)
        return 0

    # Time

    cdef uint64_t check(self, HttpConnection engine, uint64_t now) except? 0:
        """Answer a request whose body, or the verdict about its sender, is late; return when to check again."""
        if engine.is_closed:
            return 0
        return earlier(self.intake.check_rest(now), self.sender.check(engine, self.served, now))


cdef GatewayRequests new_requests(HttpConnection engine, HttpServedConnection served):
    cdef GatewayRequests requests = GatewayRequests.__new__(GatewayRequests)
    requests.service = served.service
    requests.gate = <Gate>served.gate
    requests.served = served
    requests.intake = new_intake(engine, served)
    requests.sender = RequestSender()
    return requests

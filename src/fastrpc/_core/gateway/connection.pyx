"""The HTTP gateway's side of one connection: from requests to calls.

::

    head ──► Host, origin ──► fixed path ────────────────────────────► what is there answers
                        └──► method, verb, type ──► body ──► Gate.pass_in ──► handler

HttpExchange goes from there to responses. A request for a WebSocket is judged by its head alone; SocketTalk goes on.

With authentication on, a body of more than `SMALL_BODY` bytes, or of unknown length, is read once its sender is known.
"""

import logging

cimport cython
from cpython.bytearray cimport PyByteArray_GET_SIZE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t
from libc.string cimport memset

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.instants cimport earlier
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, INTERNAL, OK, RESOURCE_EXHAUSTED
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport Route
from fastrpc._core.framing.frame cimport ONE_WAY, REASON_DRAIN, TIMEOUT_NONE, Frame
from fastrpc._core.gateway.http_call cimport new_call, terms_of
from fastrpc._core.gateway.messages cimport LINE_ARGUMENTS, LINE_END, LINE_VALUE, MESSAGE_COST, open_line
from fastrpc._core.gateway.problems cimport http_status_of, problem_document, retry_line, status_of_refusal
from fastrpc._core.gateway.request_fields cimport SMALL_BODY, is_long
from fastrpc._core.gateway.response_lines cimport BEARER, NOSNIFF, PROBLEM_LINES, call_lines
from fastrpc._core.gateway.socket_talk cimport SocketTalk
from fastrpc._core.http1.connection cimport field_lines
from fastrpc._core.http1.head cimport VERB_POST
from fastrpc._core.io.engine cimport ByteStream
from fastrpc._core.serving.access cimport WAITS
from fastrpc._core.serving.exchange cimport Exchange, Failure
from fastrpc._core.serving.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.websocket.frames cimport CLOSE_RESTART

from fastrpc._core.base.histogram import count_refusal
from fastrpc._core.http1.head import RequestRefusedError
from fastrpc.errors import CallError
from fastrpc.status import Status

# Of a body that is taken in parts.
cdef int64_t ENDLESS = <int64_t>1 << 62
# A connection without a request closes so long after the begin of a drain.
cdef uint64_t LEAVING_NS = 1_000_000_000
# When to look again whether its last answer was taken.
cdef uint64_t UNSENT_NS = 50_000_000

logger = logging.getLogger("fastrpc.server")


@cython.final
cdef class GatewayConnection(HttpConnection):
    """One connection of a server's HTTP gateway."""

    def __init__(self, HttpService service not None, parts):
        if self._exchange is not NULL:
            raise RuntimeError("a connection is initialised once")
        HttpConnection.__init__(self, service.limits)
        self.life.set_age(parts.config.timeouts, parts.config.keepalive)
        self.service = service
        self.gate = service.gate
        self.exchange = HttpExchange(self.gate, "http")
        self.exchange.has_marshals = True
        self.exchange.reveals_services = parts.reveals_services
        self.exchange.service = service
        self.exchange.takes_values = service.serves_rpcx or service.serves_phobos
        self.exchange.join(self, &self._exchange)
        self.life.exchange = self._exchange
        self.line = bytearray()

    def __dealloc__(self):
        # The collector may have cleared `exchange` before, while a call still holds it.
        if self._exchange is not NULL:
            (<HttpExchange>self._exchange)._engine = NULL

    # From the head of a request to its call

    cdef int64_t head_came(self, RequestHead head) except? -2:
        cdef ServerCall call
        cdef HttpTerms terms
        self._forget()
        self.exchange.now = self.exchange.received_ns = self.now
        call = self.exchange.call = new_call(self.exchange, self.date())
        terms = terms_of(call)
        terms.understand(call, head, self.service)
        self.takes_parts = terms.takes_lines
        if terms.path is not None and terms.path.needs_identity and self.gate._access is not None:
            self._identify(call)
        return self._admit(call, terms, head)

    cdef int _forget(self) except -1:
        """Forget the request before."""
        if self.exchange.talk is not None:
            self.exchange.talk.drop(self)
        self.exchange.forget()
        self.has_started = False
        if PyByteArray_GET_SIZE(self.line):
            self.tail_changed(-PyByteArray_GET_SIZE(self.line))
            self.line.clear()
        return 0

    def _identify(self, ServerCall call):
        """Find out who sends a request to a fixed path."""
        cdef Exchange exchange = self.exchange
        self.gate._access.renew_if_due(exchange)
        credential = None if call.received_metadata is None else call.metadata.get("authorization")
        if credential is None:
            if not call.keeps_identity:
                call.identity = None if exchange.expires_ns and self.now >= exchange.expires_ns else exchange.identity
            return
        call.identity = None
        found = self.gate._access.own_credentials.of_call(call, credential)
        if found is not None:
            self._note_identity(call, *found)
            return
        self._await_verdict(call)
        self.gate._access.own_credentials.verify(
            call, "", lambda identity, status, seconds: self._identified(call, identity, status, seconds)
        )

    cdef int _await_verdict(self, ServerCall call) except -1:
        """Let the body wait until its sender is known, and the time of the call run meanwhile."""
        self.is_deciding = True
        self.verdict_due_ns = 0
        if call.stated_timeout_us and call.stated_timeout_us != TIMEOUT_NONE:
            self.verdict_due_ns = call.started_ns + call.stated_timeout_us * 1000
            self.schedule_check(self.verdict_due_ns)
        return 0

    cdef uint64_t _check_verdict(self, uint64_t now) except? 0:
        """Answer a request whose time is over before its sender is known; return when that is, 0: it is not waited for."""
        cdef ServerCall call = self.exchange.call
        cdef HttpTerms terms
        cdef str text = "the deadline passed while the credential was verified; the call was not started"
        if not self.is_deciding or now < self.verdict_due_ns or self.verdict_due_ns == 0:
            return self.verdict_due_ns if self.is_deciding else 0
        if not self.gate._access.own_credentials.give_up(call):
            # Too many of this connection are: its verdict answers it.
            return 0
        terms = terms_of(call)
        terms.is_fault_hidden = False
        terms.set_fault(504, text, b"")
        if call.route is not None:
            self.gate.count_refused(call, DEADLINE_EXCEEDED, text)
        self._answer_early()
        # The verdict finds nobody.
        self.exchange.call = None
        return 0

    def _note_identity(self, ServerCall call, identity, int status, seconds):
        call.identity = identity
        if seconds is not None:
            call.own_expires_ns = now_ns() + <uint64_t>(<double>seconds * 1e9)
        if status:
            terms_of(call).set_fault(http_status_of(status), "the credential is not accepted", b"")

    def _identified(self, ServerCall call, identity, int status, seconds):
        cdef HttpTerms terms
        if self.exchange.call is call and not self.is_closed:
            self._note_identity(call, identity, status, seconds)
            terms = terms_of(call)
            if is_long(self.head) and (terms.fault_status or identity is None):
                if not terms.fault_status:
                    terms.set_fault(401, "the caller is not authenticated", b"")
                self._answer_early()
            else:
                self.admit_body()

    cdef int64_t _admit(self, ServerCall call, HttpTerms terms, RequestHead head) except? -2:
        """Return the most bytes of the body; one that is refused anyhow is not waited for where it is long."""
        cdef bint is_large = is_long(head)
        if terms.fault_status or terms.path is None and call.route is None:
            if is_large:
                self._answer_early()
            return SMALL_BODY
        if self.gate._access is not None and (is_large or terms.is_socket and terms.path is None):
            if terms.path is None:
                self._judge()
            elif not self.is_deciding and call.identity is None:
                terms.set_fault(401, "the caller is not authenticated", b"")
                self._answer_early()
        return ENDLESS if self.takes_parts else self.service.body_bytes

    cdef int _answer_early(self) except -1:
        """Answer before the body came, which is not read."""
        self.exchange.leaves_body = True
        self.takes_parts = False
        return self._hand_over(b"")

    cdef int _judge(self) except -1:
        """Find out whether the sender may call the method before its body is read."""
        cdef ServerCall call = self.exchange.call
        cdef int status
        try:
            status = self.gate._access.judge(call)
        except Exception as error:
            logger.error("it could not be decided about %s", call.method, exc_info=error)
            status = INTERNAL
        if status == WAITS:
            self._await_verdict(call)
            self.gate._access.own_credentials.verify(
                call, call.method, lambda identity, status, seconds: self._judged(call, identity, status, seconds)
            )
        elif status != OK:
            self._refuse_sender(call, status)
        return 0

    def _judged(self, ServerCall call, identity, int status, seconds):
        if self.exchange.call is not call or self.is_closed:
            return
        self.exchange.now = now_ns()
        if identity is not None:
            status = self.gate._access.take_own(call, identity, seconds)
        if status != OK:
            self._refuse_sender(call, status)
        else:
            self.admit_body()
            # A call without a body has begun, and no read ends behind it.
            self.gate.runner.leave_task()

    def _refuse_sender(self, ServerCall call, int status):
        self.exchange.leaves_body = self.is_answering = True
        self.takes_parts = False
        self.gate._refuse_access(call, call.method, status)

    # From the body to the gate

    cdef int request_came(self, RequestHead head, bytes body) except -1:
        cdef bytes payload = body
        cdef ServerCall call = self.exchange.call
        cdef HttpTerms terms = terms_of(call)
        if terms.fault_status and not terms.is_fault_hidden:
            return self._answer_fault(call, terms)
        if terms.is_socket and not terms.fault_status and (terms.path is not None or call.route is not None):
            return self._upgrade(call, terms)
        if terms.path is not None:
            if call.charge:
                # The calls that it makes are counted by themselves.
                self.gate.memory.charge(call, 0)
            terms.path.serve(self, head, body, call.identity)
            return 0
        if self.takes_parts:
            # Its arguments come in its first line.
            return 0
        if head.verb != VERB_POST and terms.target is not None and terms.fault_status == 0:
            try:
                payload = terms.target.arguments(head.query)
            except CallError as error:
                terms.refuse_later(call, 400, f"{call.method}: {error.message}")
        return self._pass_in(payload)

    cdef int _pass_in(self, bytes payload) except -1:
        cdef ServerCall call = self.exchange.call
        cdef bytes name = terms_of(call).name
        self.has_started = True
        self.exchange.now = max(self.exchange.now, self.now)
        self.exchange.is_reading = self.is_reading
        self.exchange.dated_ns = max(self.exchange.dated_ns, self.rested_ns)
        if call.charge and call.route is None:
            self.gate.memory.charge(call, 0)
        if terms_of(call).rpcx is not None and self.exchange.answers_at_once(call, payload):
            return 0
        self.gate.pass_in(call, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), 0, payload)
        if call.charge and not call.is_held and call.waiting_payload is None:
            # It ended in its first step: nobody else takes back what its body counted.
            self.gate.memory.charge(call, 0)
        if self.exchange.ended_ns > self.turn_ends_ns:
            self.messages_left = 0
        if self.exchange.call is not None:
            # Its handler may go on in the next turn of the loop.
            self.woke = True
        return 0

    # A WebSocket

    cdef int _upgrade(self, ServerCall call, HttpTerms terms) except -1:
        """End the handshake of a WebSocket: what follows is no HTTP."""
        # It may have calls under way at every instant: at its age it is closed.
        self.life.closes_by_answers = False
        cdef SocketTalk talk = SocketTalk(self.service, call)
        self.exchange.become(talk)
        talk.begin(self, terms.subprotocol)
        if self.is_draining:
            self.begin_drain()

    cdef Py_ssize_t upgraded_came(self, const char* data, Py_ssize_t size) except -1:
        return self.exchange.talk.receive(self, data, size)

    cdef uint64_t upgraded_due(self, uint64_t now) except? 0:
        return 0 if self.exchange.talk is None else self.exchange.talk.check(self, now)

    def answer_message(self, bytes content not None):
        """Answer a message of a WebSocket at a fixed path, unless the connection is gone."""
        if self.exchange.talk is not None and not self.is_closed:
            self.exchange.talk.answer_message(self, content)

    def close(self, int reason=0, str text=""):
        """Close once all output is sent."""
        if self.exchange.talk is not None and not self.is_closed:
            self.exchange.talk.close(self, CLOSE_RESTART, text)
        else:
            HttpConnection.close(self, reason, text)

    # Faults

    cdef int _answer_fault(self, ServerCall call, HttpTerms terms) except -1:
        """Answer a request that the gate does not see."""
        cdef int status = terms.fault_status
        cdef bytes lines = terms.fault_lines
        cdef bint leaves_body = self.exchange.leaves_body
        cdef Failure failure
        if status == 204:
            return self.answer(status, lines, b"", leaves_body)
        if terms.rpcx is not None:
            lines += terms.rpcx.failure_lines(terms.fault_text, None) + NOSNIFF + call_lines(call, self.head)
            return self.answer(200 if terms.rpcx.is_phobos else status, lines, b"", leaves_body)
        failure = Failure(status_of_refusal(status), terms.fault_text, has_run=False)
        lines += (BEARER if status == 401 else b"") + retry_line(status, failure) + call_lines(call, self.head)
        return self.answer(status, PROBLEM_LINES + lines, problem_document(status, failure, CODEC_JSON), leaves_body)

    cdef bytes refusal_of(self, object error):
        failure = Failure(status_of_refusal(error.status), error.text, has_run=False)
        document = problem_document(error.status, failure, CODEC_JSON)
        length = b"Content-Length: %d\r\n\r\n" % len(document)
        return PROBLEM_LINES + retry_line(error.status, failure) + length + document

    cdef int body_grew(self, Py_ssize_t size) except -1:
        """Count what is there of a body; one that is over a budget is refused before the rest of it came."""
        cdef ServerCall call = self.exchange.call
        if call is None or terms_of(call).fault_status:
            return 0
        problem = self.gate.over_budget(call, size - call.charge, call.charge == 0)
        if problem is not None:
            count_refusal("memory")
            self.gate.count_refused(call, RESOURCE_EXHAUSTED, problem)
            raise RequestRefusedError(503, problem)
        return self.gate.memory.charge(call, size)

    cdef int request_dropped(self) except -1:
        cdef ServerCall call = self.exchange.call
        self._forget()
        if call is not None:
            if self.exchange.held and call in self.exchange.held:
                self.gate.cancel(call, False)
            elif call.charge and call.waiting_payload is None:
                self.gate.memory.charge(call, 0)
        return 0

    # A body in lines

    cdef int part_came(self, bytes part, bint is_last) except -1:
        cdef Py_ssize_t end = part.rfind(b"\n"), before = PyByteArray_GET_SIZE(self.line)
        cdef list lines = []
        if end >= 0:
            lines = (bytes(self.line) + part[:end]).split(b"\n")
            self.line = bytearray()
        self.line += part[end + 1:]
        if is_last:
            lines.append(bytes(self.line))
            self.line = bytearray()
        # Counted like bytes that wait for their turn, before a line is taken, which may end the connection.
        self.tail_changed(PyByteArray_GET_SIZE(self.line) - before)
        try:
            for line in lines:
                self._take_line(line.strip())
            if PyByteArray_GET_SIZE(self.line) > self.service.body_bytes:
                text = f"a line of the body has more than {self.service.body_bytes} bytes (Limits.message_bytes)"
                raise CallError(Status.RESOURCE_EXHAUSTED, text)
        except CallError as error:
            self._end_input(error)
        else:
            if is_last:
                self._end_input(None)
        return 0

    cdef int _take_line(self, bytes line) except -1:
        """Take a line of the body: arguments, a message, or the end of both."""
        cdef list content = []
        cdef int kind
        cdef ServerCall call = self.exchange.call
        cdef ServedStream stream
        cdef Frame frame
        if not line or call is None:
            return 0
        kind = open_line(line, content)
        if kind == LINE_ARGUMENTS and self.has_started:
            raise CallError(Status.INVALID_ARGUMENT, "the arguments come in the first line of the body, and once")
        if not self.has_started:
            self._pass_in(content[0] if kind == LINE_ARGUMENTS else b"")
        stream = <ServedStream>call.stream
        if stream is None:
            return 0
        if stream.input_ended and kind == LINE_VALUE:
            raise CallError(Status.INVALID_ARGUMENT, "a message comes behind the end of the stream")
        if kind == LINE_END:
            stream.end_input(None)
        elif kind == LINE_VALUE:
            memset(&frame, 0, sizeof(Frame))
            frame.codec = CODEC_JSON
            stream.put(&frame, content[0], len(content[0]) + MESSAGE_COST)
            if stream.held > self.service.window_bytes:
                self.hold_body(True)
        return 0

    def _end_input(self, error):
        """No further message comes; what is wrong with the lines is told to a call that has not begun by its refusal."""
        cdef ServerCall call = self.exchange.call
        if call is None:
            return
        if not self.has_started:
            if error is not None:
                terms_of(call).refuse_later(call, 400, f"{call.method}: {error.message}")
            self._pass_in(b"")
        if call.stream is not None:
            (<StreamChannel>call.stream).end_input(error)

    # For what is at fixed paths

    def is_asked(self, RequestHead head not None):
        """Return whether this request still waits for its answer."""
        return self.head is head and self.is_answering and not self.is_closed

    def answer_path(self, int status, fields, bytes content not None):
        """Answer a request to a fixed path."""
        lines = field_lines(fields) + NOSNIFF + call_lines(self.exchange.call, self.head)
        self.answer(status, lines, content, self.exchange.leaves_body)

    def may_call(self, identity, Route route not None):
        """Return whether a caller may call a method."""
        return self.gate._access is None or self.gate._access.allows(identity, route)

    def begin_call(self, str method not None, bytes arguments not None, done not None, str codec not None="json",
                   bint one_way=False):
        """Call a unary method in the name of the request being answered; `done` gets its `Outcome`."""
        cdef ServerCall asked = self.exchange.call
        cdef ServerCall call = new_call(self.exchange, self.date() if self.is_reading else now_ns())
        cdef bytes name = method.encode("utf-8", "surrogatepass")
        cdef HttpTerms terms = terms_of(call)
        cdef Route route
        self.exchange.now = self.exchange.received_ns = now_ns()
        terms.done = done
        call.codec = CODEC_MSGPACK if codec == "msgpack" else CODEC_JSON
        call.flags = ONE_WAY if one_way else 0
        if one_way:
            self.note_unanswered()
        call.received_metadata = asked.received_metadata
        call.stated_timeout_us = asked.stated_timeout_us
        call.deadline_ns = asked.deadline_ns
        call.request_entry = asked.request_entry
        if terms_of(asked).origin is not None:
            call.identity = None
        if not self.gate._is_refused_early(call, name, PyBytes_GET_SIZE(arguments)):
            route = call.route
            if route is not None:
                terms.target = self.service.method_of(route)
                self._check_kind(terms, route)
            self.gate._pass_in_alone(call, name, arguments)
        return call

    def _check_kind(self, HttpTerms terms, Route route):
        if route.takes_stream or route.gives_stream:
            terms.set_fault(400, f"{route.method} is called as a stream, which has no place here", b"")

    # What a server calls

    def begin_drain(self, int reason=0, str text=""):
        """Close with the next answer; once the server drains, a connection that rests has a second for its last request."""
        self.is_draining = True
        self.exchange.is_draining = True
        if self.exchange.drain_signal is not None:
            self.exchange.drain_signal.set()
        if self.is_closed or reason and self.exchange.talk is None:
            return
        if not self.life.drains:
            self.life.begin_drain(now_ns() + LEAVING_NS)
            self.schedule_check(self.life.left_due())
        # Where the peer takes no output its time stays as it is; all is looked at once it does.
        if self.exchange.talk is not None and not self.is_stuck:
            self._wait_until(earlier(self._due_ns, self.life.left_due()))

    @property
    def has_drained(self):
        """Whether no call is under way, all output is sent, and nobody is about to send a last request."""
        if self.exchange.talk is not None and not self.is_closed:
            if self.exchange.talk.has_calls() or self.unsent_bytes():
                return False
            return now_ns() >= self.life.kept_until_ns
        # Otherwise it closes by itself: behind its last answer, or once it has rested.
        return self.is_closed and not (self.exchange.held or self.exchange.queue or self.unsent_bytes())

    cdef bint _is_between(self) except -1:
        """Return whether no request is received or answered."""
        return not (self.is_answering or self.head is not None or self._seen or self.exchange.held or self.exchange.queue)

    cdef uint64_t _check_leaving(self, uint64_t now) except? 0:
        """Close a connection that rests while the server drains; return when that is."""
        if not self.life.drains or self.exchange.talk is not None or not self._is_between():
            return 0
        if self.is_stuck:
            # The last answer is still being taken; whatever lies behind it has its turn then.
            return max(now + UNSENT_NS, self.life.left_due())
        if not self.life.has_left(now, True):
            return self.life.next_ns
        self._end()
        self.gate.runner.tell_watcher()
        return self._due_ns

    def end_calls(self, str text not None):
        """Answer every call that is still under way, and stop its handler."""
        self.gate.end_calls(self.exchange, text)

    def stats(self):
        """What is under way on this connection, as plain data."""
        return self.exchange.stats(self.unsent_bytes())

    # For the verdict about a certificate

    def describe_peer(self):
        """Who is on the other side."""
        return self.exchange.describe_peer()

    def identify(self, identity not None, valid_seconds=None, *, bint by_certificate=False, uint64_t generation=0):
        """Note who the certificate names, and until when."""
        self.exchange.certify(identity, valid_seconds, generation)
        return True

    def go_on(self):
        """Take the requests that waited for a verdict."""
        if self._stream is not NULL:
            (<ByteStream>self._stream).release_input()

    # The engine

    cdef int connected(self) except -1:
        if self.life.count_in():
            self.close(REASON_DRAIN, self.life.surplus_text())
            return 0
        HttpConnection.connected(self)
        if self.life.aged_at_ns:
            self.schedule_check(self.life.aged_at_ns)
        return 0

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if not (self.life.has_heard or self.is_closed) and not self.life.hear_first():
            return 0
        return HttpConnection.receive(self, data, size)

    cdef int lost(self, object error) except -1:
        self.request_dropped()
        self.life.count_out(error)
        return HttpConnection.lost(self, error)

    cdef int read_done(self) except -1:
        self.exchange.received_ns = self.received_ns
        self.exchange.read_ended()
        return self.gate.runner.leave_task()

    cdef int flushed(self) except -1:
        cdef ServerCall call = self.exchange.call
        if self.exchange.output_held or self.is_stuck or self._output_bytes:
            self.life.weigh(self.exchange.unsent_bytes(), self.now)
        if self.has_begun and call is not None and call.stream is not None and not self.exchange.output_is_full(call):
            (<StreamChannel>call.stream).wake_sender()
        return self.gate.runner.tell_watcher()

    cdef int stalled(self) except -1:
        return self.life.note_stall(self.now, self.date())

    cdef int tail_changed(self, Py_ssize_t change) except -1:
        return self.gate.memory.count_tail(self.exchange, change)

    cdef uint64_t check(self, uint64_t now) except? 0:
        cdef uint64_t due = HttpConnection.check(self, now)
        if self.is_closed:
            return due
        due = earlier(due, self.gate.check_waiting(self.exchange, now))
        due = earlier(due, self._check_verdict(now))
        due = earlier(due, self.life.weigh_again(self.exchange.unsent_bytes(), now) if self.exchange.output_held else 0)
        due = earlier(due, self.life.check_credentials(now))
        due = earlier(due, self.life.check_age(now, self._is_between()))
        due = earlier(due, self._check_leaving(now))
        return self._due_ns if self.is_closed else earlier(due, self.exchange.send_sign(now))

"""A request to a fixed path, or a message of a WebSocket there, as the handler of the path sees it.

::

    request, message ──► PathExchange ──► handler at the path (`fastrpc.server.http.paths`)
                             │ answer ──► Exchange.answer, or a message of the WebSocket
                             └ call ────► Gate ──► handler of a method ──► Outcome

A PathExchange may outlive its exchange and its connection. Its answer is dropped then.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

from fastrpc._core.base.codec_numbers cimport CODEC_JSON, CODEC_MSGPACK
from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.exchange.exchange cimport field_lines
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.http_call cimport HttpTerms, new_call, terms_of
from fastrpc._core.http.own_answerings cimport AS_PART
from fastrpc._core.http.responses cimport NOSNIFF, call_lines
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_connection cimport ServedConnection
from fastrpc._core.wire.frame cimport ONE_WAY

cdef enum:
    # After an answer of more bytes than this, the memory of the output is checked before the next answer is made.
    LARGE_ANSWER = 65_536


@cython.final
cdef class PathExchange:

    cdef:
        # `asked`: the call of the request; `served`: its connection. Both outlast the exchange.
        ServerCall asked
        ServedConnection served

        # `head`: the head of the request; `is_message`: whether this is a message of the WebSocket that the request
        # opened.
        readonly RequestHead head
        readonly bint is_message

    cdef inline Exchange exchange(self):
        return terms_of(self.asked).request.open_exchange()

    @property
    def peer(self):
        return self.asked.peer

    @property
    def transport(self):
        cdef Exchange exchange = self.exchange()
        return None if exchange is None else exchange.engine().transport

    @property
    def reveals_services(self):
        return self.served.reveals_services

    @property
    def routes(self):
        return (<Gate>self.served.gate).routes

    @property
    def is_asked(self):
        cdef Exchange exchange = self.exchange()
        return exchange is not None and exchange.head is self.head and exchange.is_answering

    def may_call(self, identity, MethodRoute route):
        return (<Gate>self.served.gate).guards.may_call(identity, route)

    def answer(self, int status, fields, bytes content not None):
        cdef Exchange exchange = self.exchange()
        cdef HttpTerms terms = terms_of(self.asked)
        if self.is_message:
            if content and terms.request.talk is not None and exchange is not None:
                (<SocketEnd>terms.request.talk).answer_message(exchange, content)
        elif self.is_asked:
            lines = field_lines(fields) + NOSNIFF + call_lines(self.asked, terms, self.head)
            terms.request.conclude(exchange, self.asked, status, lines, content)
        if PyBytes_GET_SIZE(content) > LARGE_ANSWER:
            self.served.now = now_ns()
            self.served.weigh_answer()

    def count_answer(self, Py_ssize_t change):
        (<Gate>self.served.gate).memory.count_answer(self.served, change)

    def call(self, str method not None, bytes arguments not None, done not None, str codec not None="json",
             bint one_way=False):
        cdef ServedConnection served = self.served
        cdef Exchange exchange = self.exchange()
        cdef Gate gate = <Gate>served.gate
        cdef bint is_read = exchange is not None and exchange.engine().is_reading
        cdef ServerCall asked = self.asked
        cdef HttpTerms own = terms_of(asked)
        cdef ServerCall call = new_call(own.request, exchange.date() if is_read else now_ns())
        cdef bytes name = method.encode("utf-8", "surrogatepass")
        cdef HttpTerms terms = terms_of(call)
        served.now = served.received_ns = now_ns()
        terms.done = done
        terms.answering = AS_PART
        if exchange is not None and exchange.watch is not None:
            terms.part_of = self.head.target
        call.codec = CODEC_MSGPACK if codec == "msgpack" else CODEC_JSON
        call.flags = ONE_WAY if one_way else 0
        if one_way and exchange is not None:
            exchange.engine().note_unanswered()
        call.received_metadata = asked.received_metadata
        call.stated_timeout_us = asked.stated_timeout_us
        call.deadline_ns = asked.deadline_ns
        call.request_entry = asked.request_entry
        call.client = asked.client
        terms.speak(call, own.protocol)
        if own.origin is not None or call.client is not None:
            call.identity = None
        if not gate.refuses_early(call, name, PyBytes_GET_SIZE(arguments)):
            if call.route is not None:
                self._check_kind(terms, call.route)
            gate.pass_in_alone(call, name, arguments)
            if own.request.call is asked:
                own.request.add_part(call)
        return call

    cdef int _check_kind(self, HttpTerms terms, MethodRoute route) except -1:
        """Set the method of a call; set a fault if the method has a stream, which a document cannot carry."""
        terms.target = terms.request.service.method_of(route)
        if route.takes_stream or route.gives_stream:
            return terms.set_fault(400, f"{route.method} is called as a stream, which has no place here", b"")
        return 0


cdef object new_path_exchange(Exchange exchange, ServerCall asked, bint is_message):
    cdef PathExchange made = PathExchange.__new__(PathExchange)
    made.asked = asked
    made.served = asked.connection
    made.head = exchange.head
    made.is_message = is_message
    return made

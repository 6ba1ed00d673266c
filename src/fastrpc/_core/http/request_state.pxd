"""The request of an exchange, as answers and calls see it: its state, between its head and the end of its response."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.http.answering cimport Answering
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_call cimport ServerCall


cdef class RequestState(HttpApplication)


cdef class BodyReading:
    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1
    cdef Py_ssize_t held(self) noexcept


cdef class RequestState(HttpApplication):
    cdef:
        # Shared by all connections; the served connection of this one, which calls hold, too.
        HttpService service
        EngineServedConnection connection

        # The groups of the contract for the calls of pages.
        ContractGroups groups

        # The settings by which the clients of WebSockets at mounted applications are pinged.
        object keepalive

        # The exchange, borrowed: it holds this object. NULL once it is over.
        PyObject* _exchange

        # The call of the request being received or answered, None between two; whether its body is not read.
        ServerCall call
        bint leaves_body

        # Of the present request: whether the gate has its call; the reading of its body, None: it arrives whole.
        bint has_started
        BodyReading body

        # Judges the senders of long requests that call a method; None before the first. The deadline of a request to a
        # fixed path or an application while its sender is unknown; 0: no deadline.
        SenderCheck sender_check
        uint64_t sender_due_ns

        # The `SocketEnd` of a WebSocket, or None.
        Answering talk

        # The instant of the next sign of life of a silent stream; 0: none is due.
        uint64_t sign_due_ns

        # Calls that are parts of the present request, among them some that have ended; None: none has outlasted its
        # turn. The number of parts from which on ended parts are dropped first.
        set parts
        Py_ssize_t _many_parts

    # Note the exchange, which holds this object; each tells the other when it is freed.
    cdef int join(self, Exchange exchange) except -1

    # The exchange, for code that the exchange calls. RuntimeError: it is over.
    cdef inline Exchange exchange(self):
        if self._exchange is NULL:
            raise RuntimeError("the exchange of the request is over")
        return <Exchange>self._exchange

    # The exchange, None once it or its connection is gone, or closed.
    cdef inline Exchange open_exchange(self):
        cdef Exchange exchange
        if self._exchange is NULL or self.connection._engine is NULL:
            return None
        exchange = <Exchange>self._exchange
        return exchange if exchange.is_open() else None

    # Whether the request of a call waits for its response, maybe on a connection that closes.
    cdef inline bint is_waiting(self, Call call) noexcept:
        return self.call is call and self._exchange is not NULL and self.connection._engine is not NULL

    # The exchange of a call, None unless its request waits for its response.
    cdef inline Exchange exchange_of(self, Call call):
        return self.open_exchange() if self.call is call else None

    # The end of a response: all of it, or its last part, is sent next.
    cdef int end_call(self, ServerCall call) except -1
    cdef int conclude(self, Exchange exchange, ServerCall call, int status, bytes lines, bytes content) except -1

    # The request is refused next: its rest is not received.
    cdef int leave_rest(self) except -1

    # Some output was sent: wake the sender of a stream.
    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1

    # The next sign of life of a silent stream.
    cdef int await_sign(self, uint64_t now) except -1

    # The calls that were made for the request: its own, and its parts.
    cdef int add_part(self, ServerCall part) except -1
    cdef bint has_calls(self) except -1
    cdef int leave_calls(self) except -1


# Whether the gate has a call: its handler has suspended, or it waits for a verdict or for its start.
cdef inline bint is_under_way(ServerCall call) noexcept:
    return call is not None and (call.is_held or call.waiting_payload is not None)

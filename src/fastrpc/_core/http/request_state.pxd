"""The request of an exchange, as answers and calls see it: its state from its head to the end of its response."""

from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.exchange cimport Exchange, HttpApplication
from fastrpc._core.http.answering cimport Answering
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.link.contract cimport ContractGroups
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection, SenderCheck
from fastrpc._core.server.served_call cimport ServerCall


cdef class RequestState(HttpApplication)


cdef class BodyReading:
    cdef int part(self, RequestState request, ServerCall call, bytes part, bint is_last) except -1
    cdef Py_ssize_t held(self) noexcept


cdef class RequestState(HttpApplication):
    cdef:
        # `service`: the state that all connections share; `connection`: the object that represents this connection for
        # calls and the gate.
        HttpService service
        EngineServedConnection connection

        # The groups of the contract for the calls of pages.
        ContractGroups groups

        # The settings for pings to the clients of mounted applications' WebSockets.
        object keepalive

        # The exchange, borrowed, as it holds this object; NULL once the exchange is over.
        PyObject* _exchange

        # `call`: the call of the request that is being received or answered, None between two requests; `leaves_body`:
        # whether the rest of the body is not read.
        ServerCall call
        bint leaves_body

        # For the present request: `has_started` is whether the gate has its call; `body` reads its body in parts, None
        # if the body arrives whole.
        bint has_started
        BodyReading body

        # `sender_check`: judges the senders of long requests that call a method; None before the first.
        # `sender_due_ns`: the deadline of a request to a fixed path or an application while its sender is unknown; 0:
        # no deadline.
        SenderCheck sender_check
        uint64_t sender_due_ns

        # The `SocketEnd` of a WebSocket, or None.
        Answering talk

        # The instant of the next sign of life of a silent stream; 0: none is due.
        uint64_t sign_due_ns

        # `parts`: the calls that are parts of the present request and did not end in their first step, or None. Some
        # may have ended since. `_many_parts`: the number of parts at which the ended ones are removed.
        set parts
        Py_ssize_t _many_parts

    # Set the exchange, which holds this object. Each clears the other's pointer when it is freed.
    cdef int join(self, Exchange exchange) except -1

    # Return the exchange, for code that the exchange calls. RuntimeError: the exchange is over.
    cdef inline Exchange exchange(self):
        if self._exchange is NULL:
            raise RuntimeError("the exchange of the request is over")
        return <Exchange>self._exchange

    # Return the exchange, or None once it or its connection is over or closed.
    cdef inline Exchange open_exchange(self):
        cdef Exchange exchange
        if self._exchange is NULL or self.connection._engine is NULL:
            return None
        exchange = <Exchange>self._exchange
        return exchange if exchange.is_open() else None

    # Return whether the request of a call waits for its response, even if the connection is closing.
    cdef inline bint is_waiting(self, Call call) noexcept:
        return self.call is call and self._exchange is not NULL and self.connection._engine is not NULL

    # Return the exchange of a call, or None if its request does not wait for its response.
    cdef inline Exchange exchange_of(self, Call call):
        return self.open_exchange() if self.call is call else None

    # `end_call` notes that the end of a response is sent next; `conclude` sends a whole response.
    cdef int end_call(self, ServerCall call) except -1
    cdef int conclude(self, Exchange exchange, ServerCall call, int status, bytes lines, bytes content) except -1

    # Stop receiving a request that is refused next.
    cdef int leave_rest(self) except -1

    # Wake the sender of a stream, as some output was sent.
    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1

    # Schedule the next sign of life of a silent stream.
    cdef int await_sign(self, uint64_t now) except -1

    # `add_part` adds a call that is a part of the request; `has_calls` returns whether the request has calls in
    # progress; `leave_calls` stops them.
    cdef int add_part(self, ServerCall part) except -1
    cdef bint has_calls(self) except -1
    cdef int leave_calls(self) except -1


# Return whether a call is in progress: its handler is suspended, or it waits for a check of its sender or its start.
cdef inline bint is_under_way(ServerCall call) noexcept:
    return call is not None and (call.is_held or call.waiting_payload is not None)

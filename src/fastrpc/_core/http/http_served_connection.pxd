"""The served calls of one HTTP connection: from their outcomes to responses."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Call
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.exchange.request_head cimport RequestHead
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.engine_served_connection cimport EngineServedConnection
from fastrpc._core.server.served_call cimport ServerCall


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    cdef:
        # Shared by all connections.
        HttpService service

        # The exchange of the connection.
        Exchange exchange

        # The call of the request being received or answered, None between two; whether its body is not read.
        ServerCall call
        bint leaves_body

        # The peer of the connection itself, if requests have other peers; None: it is their peer.
        object own_peer

        # The settings by which the clients of WebSockets at mounted applications are pinged.
        object keepalive

        # The talk of a WebSocket, or None.
        SocketEnd talk

        # When a silent stream gives its next sign of life, 0: not.
        uint64_t sign_due_ns

    # The exchange of the connection, None once that is gone, or closed; the exchange of a call, None unless its request
    # waits for its response.
    cdef Exchange open_exchange(self)
    cdef Exchange exchange_of(self, Call call)

    cdef int forget(self) except -1
    cdef int speak(self, str protocol) except -1
    cdef int follow_proxy(self, ServerCall call, RequestHead head) except -1
    cdef int fail_as(self, ServerCall call, Failure failure, int status, bytes lines) except -1

    # Send a whole response: the next request may follow.
    cdef inline int conclude(
        self, Exchange exchange, int status, bytes lines, bytes content, bint leaves_body
    ) except -1:
        self.call = None
        return exchange.answer(status, lines, content, leaves_body)

    # Some output was sent: wake the sender of a stream that has begun.
    cdef int wake_stream(self, Exchange exchange, ServerCall call) except -1

    # The signs of life of a silent stream.
    cdef uint64_t send_sign(self, uint64_t now) except? 0
    cdef int await_sign(self, uint64_t now) except -1

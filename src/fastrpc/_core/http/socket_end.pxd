"""The server's end of a WebSocket: its frames, memory and time limits."""

from libc.stdint cimport uint64_t

from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.answering cimport Answering, BareAnswering
from fastrpc._core.http.http_call cimport HttpTerms
from fastrpc._core.http.service cimport HttpService
from fastrpc._core.server.connection_life cimport ConnectionLife
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.websocket.frames cimport WebSocketReader


cdef class SocketEnd(BareAnswering):
    cdef:
        # `exchange`: the exchange that carries the frames, None before the handshake ends; `life`: the rules by which
        # its connection ages and ends.
        Exchange exchange
        ConnectionLife life

        # `service`: the state that all connections share; `reader`: the reader of the peer's frames.
        HttpService service
        WebSocketReader reader

        # `call`: the call, None once it is answered; for a fixed path, the call of the request that opened the
        # WebSocket. `terms`: the terms of the call; `has_closed`: whether a close frame was sent.
        ServerCall call
        HttpTerms terms
        bint has_closed

        # The `Answering` before the handshake. It is used again when the connection is lost.
        Answering before

        # `counted`: the counted bytes of an incomplete message; `weighed`: the size for which the budgets were last
        # checked, 0: not yet.
        Py_ssize_t counted
        Py_ssize_t weighed

        uint64_t began_ns
        # The instant of the peer's last bytes in this WebSocket; its connection may carry other streams as well.
        uint64_t heard_ns
        # The instant of the last message of either side.
        uint64_t used_ns
        # The instant of the last ping, 0 once bytes have arrived after it.
        uint64_t pinged_ns
        # The instant of the last ping to a peer whose input is held back.
        uint64_t probed_ns
        # `message_began_ns`: the instant at which an incomplete message began. `message_due_ns`: the instant by which
        # more of it must arrive. `message_bytes`: its bytes so far.
        uint64_t message_began_ns
        uint64_t message_due_ns
        Py_ssize_t message_bytes

        # `patience_ns`: `HTTPLimits.body_idle_seconds`, for the next piece of a message; `idle_ns`:
        # `HTTPLimits.idle_seconds`, between messages. An HTTP/2 connection itself has other limits.
        uint64_t patience_ns
        uint64_t idle_ns
        # `ping_after_ns`: the silence after which a peer is pinged, 0: never; `gone_after_ns`: the silence after a ping
        # that ends the connection. If `gone_after_ns` is 0, both are set from `HTTPLimits`.
        uint64_t ping_after_ns
        uint64_t gone_after_ns

        # The instant at which the credential expires; 0: never.
        uint64_t expires_ns

    # Hooks: `message_came` handles a whole message, `peer_closes` the peer's close frame.
    cdef int message_came(self, Exchange exchange, int kind, bytes message) except -1
    cdef int peer_closes(self, Exchange exchange) except -1
    # Return whether a call is in progress.
    cdef bint has_calls(self) except -1
    # Close the WebSocket if its credential has expired or the server drains.
    cdef int check_end(self, Exchange exchange, uint64_t now) except -1
    # Close the WebSocket if it is unused.
    cdef uint64_t check_rest(self, Exchange exchange, uint64_t now) except? 0

    # Hook: send an answer of a fixed path.
    cdef int answer_message(self, Exchange exchange, bytes content) except -1

    # Input, and time limits.
    cdef int begin(self, Exchange exchange, str protocol, bytes lines) except -1
    cdef bint has_expired(self, uint64_t now) noexcept
    cdef Py_ssize_t take_bytes(self, Exchange exchange, const char* data, Py_ssize_t size) except -1
    cdef uint64_t check(self, Exchange exchange, uint64_t now) except? 0
    cdef int drop(self) except -1

    # Output, and the end.
    cdef int send_frame(self, Exchange exchange, int opcode, bytes content) except -1
    cdef int close(self, Exchange exchange, int code, str reason) except -1
    cdef int finish(self, Exchange exchange, int code, str reason) except -1

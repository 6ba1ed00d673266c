"""The server's end of a WebSocket: frames in and out, its memory and its time."""

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
        # The tunnel, None before the handshake ends; the rules of its connection's life.
        Exchange exchange
        ConnectionLife life

        # Shared by all connections; the frames of the peer.
        HttpService service
        WebSocketReader reader

        # The call, None once it is answered; for a fixed path the request that asked for the socket. Its terms; whether
        # a close frame was sent.
        ServerCall call
        HttpTerms terms
        bint has_closed

        # The answering before the handshake: it also answers the call once the connection is lost.
        Answering before

        # The counted bytes of an incomplete message; the size with which it was last compared with the budgets, 0: not
        # yet.
        Py_ssize_t counted
        Py_ssize_t weighed

        uint64_t began_ns
        # The instant of the peer's last bytes: its connection may carry other streams as well.
        uint64_t heard_ns
        # The instant of the last message of either side.
        uint64_t used_ns
        # The instant of the last ping; 0: it was answered.
        uint64_t pinged_ns
        # The instant of the last ping to a peer whose input is held back.
        uint64_t probed_ns
        # An incomplete message: its begin, the instant by which more of it must arrive, its bytes.
        uint64_t message_began_ns
        uint64_t message_due_ns
        Py_ssize_t message_bytes

        # The times of `HTTPLimits`: for the next piece of a message, and between two messages. The rules of a connection
        # of HTTP/2 have other times.
        uint64_t patience_ns
        uint64_t idle_ns
        # The silence after which a peer is pinged, 0: never; the silence after a ping, 0: as for requests.
        uint64_t ping_after_ns
        uint64_t gone_after_ns

        # The instant at which the credential expires; 0: never.
        uint64_t expires_ns

    # Hooks. A whole message came; the peer closes.
    cdef int message_came(self, Exchange exchange, int kind, bytes message) except -1
    cdef int peer_closes(self, Exchange exchange) except -1
    # Return whether a call is under way.
    cdef bint has_calls(self) except -1
    # Close the connection if its credential has expired or the server ends.
    cdef int check_end(self, Exchange exchange, uint64_t now) except -1
    # Close the connection if it is unused.
    cdef uint64_t check_rest(self, Exchange exchange, uint64_t now) except? 0

    # Hook for an answer of a fixed path.
    cdef int answer_message(self, Exchange exchange, bytes content) except -1

    # Bytes in, and time.
    cdef int begin(self, Exchange exchange, str protocol, bytes lines) except -1
    cdef bint has_expired(self, uint64_t now) noexcept
    cdef Py_ssize_t take_bytes(self, Exchange exchange, const char* data, Py_ssize_t size) except -1
    cdef uint64_t check(self, Exchange exchange, uint64_t now) except? 0
    cdef int drop(self) except -1

    # Bytes out, and the end.
    cdef int send_frame(self, Exchange exchange, int opcode, bytes content) except -1
    cdef int close(self, Exchange exchange, int code, str reason) except -1
    cdef int finish(self, Exchange exchange, int code, str reason) except -1

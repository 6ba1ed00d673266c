"""A WebSocket of a mounted application, as events of ASGI.

::

    request ──► websocket.connect ──► websocket.accept ──► 101, frames ──► websocket.receive … websocket.disconnect
                                 └──► websocket.close: 403
                                 └──► websocket.http.response.start, .body: an ordinary response

MountedRequest answers the handshake; SocketEnd has frames, pings and times, as for every WebSocket. While more than
`MOST_AHEAD` bytes of messages wait for the application, nothing is read. Messages outlast the connection: the application
receives them before the disconnect.
"""

from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE
from libc.stdint cimport uint64_t

from fastrpc._core.base.instants cimport nanoseconds
from fastrpc._core.base.status cimport DEADLINE_EXCEEDED, UNAVAILABLE
from fastrpc._core.exchange.exchange cimport Exchange
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.messages cimport MESSAGE_COST
from fastrpc._core.http.mounted_request cimport MountedRequest, checked_fields
from fastrpc._core.http.request_state cimport RequestState
from fastrpc._core.http.request_fields cimport offered_protocols
from fastrpc._core.http.socket_end cimport SocketEnd
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.websocket.frames cimport (
    CLOSE_INTERNAL_ERROR,
    CLOSE_NORMAL,
    CLOSE_POLICY,
    CLOSE_RESTART,
    OPCODE_BINARY,
    OPCODE_TEXT,
    WebSocketReader,
    is_close_code,
)

from fastrpc._core.http.mounted_request import ClientGoneError

cdef enum:
    # The bytes of messages that may wait for the application.
    MOST_AHEAD = 65_536
    # The code for a connection that ended without a close frame (RFC 6455, section 7.4.1).
    CLOSE_ABNORMAL = 1006


# Fields of the handshake that only the server sets.
cdef frozenset HANDSHAKE_FIELDS = frozenset({
    b"content-length", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol", b"upgrade",
})


@cython.final
cdef class MountedSocket(SocketEnd):

    cdef:
        # The request for the WebSocket, which is answered by a handshake or by an ordinary response.
        MountedRequest _request
        str _name

        # `_messages`: the messages that the application has not received; `_held`: the number of their bytes.
        object _messages
        Py_ssize_t _held

        # `_has_told`: whether the application has received websocket.connect; `_has_accepted`: whether it has accepted;
        # `_code` and `_reason`: the code and the reason of the end.
        bint _has_told
        bint _has_accepted
        int _code
        str _reason

    def __init__(self, MountedRequest request not None):
        cdef RequestState asked = request._state
        self.service = asked.service
        self.call = request.call
        self.terms = terms_of(request.call)
        self.reader = WebSocketReader(self.service.body_bytes, takes_text=True, takes_binary=True)
        self.ping_after_ns = nanoseconds(asked.keepalive.interval)
        self.gone_after_ns = nanoseconds(asked.keepalive.timeout)
        self._request = request
        self._messages = deque()
        self._name = request.call.method
        self._code = CLOSE_ABNORMAL
        self._reason = ""
        request.socket = self

    @property
    def subprotocols(self):
        return offered_protocols(self._request.head)

    cdef Exchange _present(self):
        """Return the exchange, or None if its connection is closed or closing."""
        return None if self.has_closed else self._request._present()

    # Messages in

    cdef int message_came(self, Exchange exchange, int kind, bytes message) except -1:
        self._messages.append((kind, message))
        self.call.counters.moved(PyBytes_GET_SIZE(message), 0)
        self.call.moved_bytes += PyBytes_GET_SIZE(message)
        self._hold(exchange, PyBytes_GET_SIZE(message) + MESSAGE_COST)
        return self._request._wake()

    cdef int _hold(self, Exchange exchange, Py_ssize_t change) except -1:
        """Count the waiting messages, and stop reading from the client if there are too many."""
        self._held += change
        self._request._connection.stream_held += change
        (<Gate>self._request._connection.gate).memory.count(change)
        if exchange is not None:
            exchange.hold_body(self._held > MOST_AHEAD)
        return 0

    async def receive(self):
        while self._has_told and not (
            self._messages or self.has_closed or self._request.is_gone or self._request.is_complete
        ):
            await self._request._change()
        return self._taken()

    cdef dict _taken(self):
        if not self._has_told:
            self._has_told = True
            return {"type": "websocket.connect"}
        if not self._messages:
            return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
        kind, message = self._messages.popleft()
        self._hold(self._present(), -PyBytes_GET_SIZE(message) - MESSAGE_COST)
        if kind == OPCODE_TEXT:
            return {"type": "websocket.receive", "text": (<bytes>message).decode()}
        return {"type": "websocket.receive", "bytes": message}

    # Messages out

    async def send(self, message):
        kind = message["type"]
        if self._request.is_gone or self.has_closed:
            raise ClientGoneError(f"{self._name}: the client is gone")
        if kind.startswith("websocket.http.response.") and not self._has_accepted:
            await self._request.send({**message, "type": kind[len("websocket."):]})
        elif self._request.is_complete or self._request._status:
            raise RuntimeError(f"{self._name} has sent {kind!r} after it refused the handshake")
        elif kind == "websocket.accept" and not self._has_accepted:
            self._accept(message)
        elif kind == "websocket.close" and not self._has_accepted:
            self._refuse()
        elif kind == "websocket.close":
            self._code, self._reason = message.get("code") or CLOSE_NORMAL, message.get("reason") or ""
            if not is_close_code(self._code):
                raise ValueError(f"{self._name}: a close frame cannot have the code {self._code} (RFC 6455, section 7.4)")
            self._end(self._code, self._reason)
        elif kind == "websocket.send" and self._has_accepted:
            await self._request.wait_memory()
            self._send_message(message)
            while self._request._is_full() and not self._request.is_gone:
                await self._request.wait_room()
        else:
            raise RuntimeError(f"{self._name} has sent {kind!r}, which the state of its WebSocket forbids")

    cdef int _accept(self, message) except -1:
        """End the handshake."""
        cdef Exchange exchange = self._present()
        cdef str protocol = message.get("subprotocol") or ""
        if protocol and protocol not in self.subprotocols:
            raise ValueError(f"{self._name} has chosen the subprotocol {protocol!r:.100}, which was not offered")
        lines, _ = checked_fields(
            self._name,
            [field for field in message.get("headers") or () if (<bytes?>field[0]).lower() not in HANDSHAKE_FIELDS],
        )
        if exchange is None:
            self._request.leave()
            raise ClientGoneError(f"{self._name}: the client is gone")
        self._has_accepted = True
        self._request._state.talk = self
        self.begin(exchange, protocol, lines)
        return exchange.go_on()

    cdef int _refuse(self) except -1:
        """Answer the handshake with 403."""
        self._request._start({"status": 403})
        self._request._send_body(b"", 0, 0, True)
        return 0

    cdef int _send_message(self, message) except -1:
        cdef Exchange exchange = self._present()
        cdef bytes content
        text = message.get("text")
        if (text is None) == (message.get("bytes") is None):
            raise RuntimeError(f"{self._name} has sent a message that must have either text or bytes")
        content = bytes(message["bytes"]) if text is None else (<str?>text).encode()
        if exchange is None:
            raise ClientGoneError(f"{self._name}: the client is gone")
        self.used_ns = exchange.engine().now
        self._request.call.counters.moved(0, PyBytes_GET_SIZE(content))
        self._request.call.moved_bytes += PyBytes_GET_SIZE(content)
        self.send_frame(exchange, OPCODE_BINARY if text is None else OPCODE_TEXT, content)
        return self._request.output_room().weigh(self._request._connection, PyBytes_GET_SIZE(content))

    # The end

    def _end(self, int code, str reason):
        """Send a close frame, and mark the call as ended."""
        cdef Exchange exchange = self._present()
        self._request.call.was_ended = True
        if exchange is not None:
            self.finish(exchange, code, reason)
        self._request._wake()

    def note_return(self):
        if self._has_accepted:
            self._end(CLOSE_NORMAL, "")
        else:
            self._request.finish()

    def forget_messages(self):
        self._messages.clear()
        self._hold(None, -self._held)

    cdef int peer_closes(self, Exchange exchange) except -1:
        self._code, self._reason = self.reader.close_code, self.reader.close_reason or ""
        return SocketEnd.close(self, exchange, self._code, "")

    cdef int close(self, Exchange exchange, int code, str reason) except -1:
        if not self.has_closed and exchange.is_open():
            self._code, self._reason = code, reason
        return SocketEnd.close(self, exchange, code, reason)

    cdef int fail(self, Exchange exchange, ServerCall call, Failure failure, int status, bytes lines) except -1:
        cdef int code = CLOSE_INTERNAL_ERROR
        if failure.status == UNAVAILABLE:
            code = CLOSE_RESTART
        elif failure.status == DEADLINE_EXCEEDED:
            code = CLOSE_POLICY
        self._code, self._reason = code, ""
        self.finish(exchange, code, "")
        return self._request._wake()

    cdef int room(self, Exchange exchange, ServerCall call) except -1:
        return self._request.wake_sender()

    cdef int drop(self) except -1:
        # Waiting messages are kept: the application may still receive them.
        SocketEnd.drop(self)
        self.has_closed = True
        return self._request._wake()

    # Time

    cdef bint has_calls(self) except -1:
        return not self.has_closed

    cdef int check_end(self, Exchange exchange, uint64_t now) except -1:
        if self.has_expired(now):
            return self.close(exchange, CLOSE_POLICY, "the credential has expired")
        return 0

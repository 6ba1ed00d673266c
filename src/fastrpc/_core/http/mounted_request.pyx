"""A request to a mounted application: its body, and its response, as events of ASGI.

::

    body ──► put ──► receive ──► http.request … http.disconnect
    http.response.start ──► send: fields checked, kept ──► http.response.body ──► answer, or begin … end_parts

A client that expects `100 Continue` gets it at the first `receive`. When more than `MOST_AHEAD` bytes of the body wait
for `receive`, the connection stops reading. `send` waits while more than `Memory.send_soft` bytes are unsent, and while
the process's memory is full. `send` writes a long body in pieces, so a body that many requests share is not copied for
each. The head of a response is sent with the first part of its body, so if the application fails before that, the client
gets an error response.

The application is not cancelled when its client disconnects: `receive` returns `http.disconnect`, and `send` raises
OSError.
"""

import asyncio
from collections import deque

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from fastrpc._core.base.status cimport CANCELLED
from fastrpc._core.exchange.exchange cimport NO_BODY, UNKNOWN_SIZE
from fastrpc._core.exchange.request_head cimport VERB_HEAD, check_field
from fastrpc._core.http.http_call cimport terms_of
from fastrpc._core.http.responses cimport status_of_response
from fastrpc._core.server.gate cimport Gate

from fastrpc._core.calls.call import current_call
from fastrpc._core.exchange.request_head import RequestRefusedError

cdef enum:
    # The bytes of a body that may wait for the application.
    MOST_AHEAD = 65_536
    # The pieces in which `send` writes a body: usually; on a connection with more than `Memory.send_soft` unsent bytes.
    PIECE_BYTES = 1_048_576
    CROWDED_PIECE_BYTES = 65_536

#: Seconds that an application has after the end of its request, before it is cancelled.
GRACE_SECONDS = 1.0

# Fields of a response that only the server sets.
cdef frozenset OWN_FIELDS = frozenset({b"connection", b"date", b"keep-alive", b"transfer-encoding"})

cdef dict DISCONNECT = {"type": "http.disconnect"}


class ClientGoneError(OSError):
    """Raised by `send` in an application whose client has disconnected."""


@cython.final
cdef class MountedRequest:

    def __init__(self, RequestState request not None, ServerCall call not None):
        self.call = call
        self.head = request.exchange().head
        self._state = request
        self._connection = request.connection
        self._parts = deque()
        self._length = self._left = -1

    @property
    def fields(self):
        return self.head.pairs()

    @property
    def sockname(self):
        cdef Exchange exchange = self._present()
        transport = None if exchange is None else exchange.engine().transport
        return None if transport is None else transport.get_extra_info("sockname")

    cdef Exchange _present(self):
        """Return the exchange, or None if it or its connection is closed, or if it has another request now."""
        cdef Exchange exchange = self._state.open_exchange()
        return exchange if exchange is not None and exchange.head is self.head else None

    # The body

    cdef int put(self, bytes part, bint is_last) except -1:
        cdef Exchange exchange = self._present()
        self._has_all = is_last
        if part and not self.is_gone and not self.is_complete:
            self._parts.append(part)
            self._hold(PyBytes_GET_SIZE(part))
            if self._held > MOST_AHEAD and exchange is not None and exchange.takes_parts:
                exchange.hold_body(True)
        return self._wake()

    cdef int _hold(self, Py_ssize_t change) except -1:
        self._held += change
        self._connection.stream_held += change
        return (<Gate>self._connection.gate).memory.count(change)

    async def receive(self):
        cdef Exchange exchange = self._present()
        if exchange is not None:
            # The client may hold the body back until it is asked (`Expect: 100-continue`).
            exchange.ask_body()
        while not (self._parts or self.is_gone or self.is_complete or self._has_all and not self._has_told_all):
            await self._change()
        return self._taken()

    cdef dict _taken(self):
        """Return the next event: the received part of the body, or the disconnect."""
        cdef Exchange exchange
        if self.is_gone or self.is_complete:
            return DISCONNECT.copy()
        body = self._parts.popleft() if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._hold(-self._held)
        self._has_told_all = self._has_all
        exchange = self._present()
        if exchange is not None and exchange.is_body_held:
            exchange.hold_body(False)
        return {"type": "http.request", "body": body, "more_body": not self._has_told_all}

    # The response

    async def send(self, message):
        kind = message["type"]
        if self.is_gone:
            raise ClientGoneError(f"{self.call.method}: the client is gone")
        if self.is_complete:
            raise RuntimeError(f"{self.call.method} has sent {kind!r} after the end of its response")
        if kind == "http.response.start":
            self._start(message)
        elif kind == "http.response.body":
            body = message.get("body", b"")
            await self._send_parts(
                body if type(body) is bytes else bytes(memoryview(body)), not message.get("more_body", False)
            )
        else:
            raise RuntimeError(f"{self.call.method} has sent {kind!r}, which is no event of a response")

    async def _send_parts(self, bytes body, bint is_last):
        """Send a body in pieces, and wait for room after each."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(body), at = 0, part
        cdef Py_ssize_t most = CROWDED_PIECE_BYTES if self._is_crowded() else PIECE_BYTES
        cdef Py_ssize_t piece = most if size > most and self._comes_in_pieces(size, is_last) else max(size, 1)
        while at == 0 or at < size:
            if self.is_gone or self.output_room().is_over():
                await self.wait_memory()
            if piece < size and self._is_crowded():
                # Other requests may have filled the connection meanwhile.
                piece = CROWDED_PIECE_BYTES
            part = min(piece, size - at)
            self._send_body(body, at, part, is_last and at + part == size)
            at += max(part, 1)
            # At most one piece waits. There is no wait after the end: the connection goes on to the next request.
            while not (self.is_gone or self.is_complete) and (self._is_full() or at < size and self._has_output()):
                await self.wait_room()

    cdef bint _comes_in_pieces(self, Py_ssize_t size, bint is_last) except -1:
        """Return whether a long body may be sent in pieces; set the length of a body that is complete."""
        cdef Exchange exchange = self._present()
        if exchange is None or self._status in (0, 204, 304) or exchange.head.verb == VERB_HEAD:
            return False
        self._check_length(size, is_last)
        if is_last and self._length < 0 and not exchange.has_begun:
            self._length = self._left = size
        return True

    cdef int _start(self, message) except -1:
        """Check the head of the response, and keep it until the first part of the body."""
        status = message["status"]
        if self._status:
            raise RuntimeError(f"{self.call.method} has sent http.response.start twice")
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise ValueError(f"{self.call.method}: the status of a response is {status!r}, it must be 200 to 999")
        lines, length = checked_fields(self.call.method, message.get("headers", ()))
        self._lines = lines
        self._length = self._left = length
        self._status = status
        return 0

    cdef int _send_body(self, bytes body, Py_ssize_t at, Py_ssize_t size, bint is_last) except -1:
        """Send `size` bytes of a body from `at` on; many bytes are not copied."""
        cdef Exchange exchange = self._present()
        cdef int status = self._status
        cdef bint is_head, is_whole
        if status == 0:
            raise RuntimeError(f"{self.call.method} has sent a body before http.response.start")
        if exchange is None:
            self.leave()
            raise ClientGoneError(f"{self.call.method}: the client is gone")
        is_head = exchange.head.verb == VERB_HEAD
        is_whole = is_last and not exchange.has_begun
        if not (status == 204 or status == 304 or is_head):
            self._check_length(size, is_last)
            self._left -= size
        elif not is_head or not is_whole:
            size = 0
        self.call.counters.moved(0, size)
        self.call.moved_bytes += size
        if is_whole and (self._length < 0 or status == 204 or not (is_head or status == 304)):
            self._finish(status)
            exchange.answer(status, self._lines, body if size else b"", False)
        else:
            if not exchange.has_begun:
                self._begin(exchange)
            exchange.send_part(body, at, size)
            if is_last:
                self._finish(status)
                exchange.end_parts()
        return self.output_room().weigh(self._connection, size)

    cdef int _begin(self, Exchange exchange) except -1:
        """Send the head of a response whose body is sent in parts, or omitted."""
        cdef int64_t size = self._length
        if self._status == 204:
            size = NO_BODY
        elif size < 0 and self._status != 304:
            size = UNKNOWN_SIZE
        return exchange.begin_parts(self._status, self._lines, size)

    cdef int _check_length(self, Py_ssize_t size, bint is_last) except -1:
        """Raise if a part of the body does not fit the stated Content-Length."""
        if self._length < 0:
            return 0
        if size > self._left or is_last and size < self._left:
            kind = "longer" if size > self._left else "shorter"
            raise RuntimeError(f"{self.call.method}: the body is {kind} than its Content-Length, {self._length}")
        return 0

    cdef int _finish(self, int status) except -1:
        """Mark the response as complete. The next request may follow while the application still runs."""
        self.is_complete = self.call.was_ended = True
        self._state.end_call(self.call)
        self.call.told_status = status_of_response(status)
        return self._drop_body()

    def finish(self):
        if self.is_complete:
            return
        if self.is_gone:
            self.call.told_status = self.call.told_status or CANCELLED
            return
        self.leave()
        what = "before the end of its response" if self._status else "without a response"
        raise RuntimeError(f"{self.call.method} has returned {what}")

    # Waiting

    async def _change(self):
        """Wait for a change."""
        self._begin_wait()
        await self._changed.wait()

    cdef int _begin_wait(self) except -1:
        if self._changed is None:
            self._changed = asyncio.Event()
        self._changed.clear()
        return 0

    async def wait_room(self):
        """Wait until some output was sent, or something else has changed."""
        cdef Exchange exchange = self._present()
        self._begin_wait()
        if exchange is not None:
            # If the exchange has room, it sets the event immediately.
            exchange.await_room()
        await self._changed.wait()

    cdef OutputRoom output_room(self):
        return (<Gate>self._connection.gate).runner.room

    async def wait_memory(self):
        """Wait until the process has memory for more output.

        Raises:
            ClientGoneError: the client is gone.
        """
        while self.output_room().is_over() and not self.is_gone:
            self._ask_memory()
            await self._change()
        if self.is_gone:
            if self._memory is not None:
                # The request no longer waits for memory.
                self._memory.cancel()
            raise ClientGoneError(f"{self.call.method}: the client is gone")

    cdef int _ask_memory(self) except -1:
        """Arrange that the wait ends once the process has memory for more output."""
        if self._memory is None or self._memory.done():
            self._memory = (<Gate>self._connection.gate).loop_state.loop.create_future()
            self._memory.add_done_callback(self._memory_came)
            self.output_room().add(self._memory)
        return 0

    def _memory_came(self, future):
        self._wake()

    cdef int _wake(self) except -1:
        if self._changed is not None:
            self._changed.set()
        return 0

    cdef bint _is_crowded(self) except -1:
        cdef Exchange exchange = self._present()
        return exchange is not None and exchange.unsent() > (<Gate>self._connection.gate).send_soft

    cdef bint _is_full(self) except -1:
        """Return whether `send` has to wait. On a crowded HTTP/2 connection each request may have one part waiting."""
        cdef Exchange exchange = self._present()
        return self._is_crowded() and (exchange.is_alone or exchange.is_full())

    cdef bint _has_output(self) except -1:
        cdef Exchange exchange = self._present()
        return exchange is not None and exchange.has_output()

    cdef int wake_sender(self) except -1:
        cdef Exchange exchange = self._present()
        # On HTTP/2 a sender gets one turn for each wait, so it has to wake and ask for the next one.
        return 0 if exchange is not None and exchange.is_alone and self._is_crowded() else self._wake()

    # The end

    cpdef int leave(self) except -1:
        """Tell the application that the request is over."""
        if self.is_gone:
            return 0
        self.is_gone = True
        return self._drop_body()

    cdef int _drop_body(self) except -1:
        self._parts.clear()
        self._hold(-self._held)
        return self._wake()

    def cancel(self):
        if self.call.task is not None:
            self.call.task.cancel()


cdef MountedRequest mounted_request_of(ServerCall call):
    return <MountedRequest?>terms_of(call).mounted


def current_request():
    return mounted_request_of(<ServerCall?>current_call())


cdef tuple checked_fields(str method, object given):
    cdef list lines = []
    cdef int64_t length = -1
    cdef bytes line, known
    for name, value in given:
        line = b"%b: %b" % (name, value)
        known = (<bytes?>name).lower()
        try:
            is_field = check_field(PyBytes_AS_STRING(line), PyBytes_GET_SIZE(line)) == PyBytes_GET_SIZE(name)
        except RequestRefusedError:
            is_field = False
        if not is_field:
            raise ValueError(f"{method}: {name!r:.100} of the response is no field, or its value holds CR, LF or NUL")
        if known == b"content-length":
            if not value.isdigit() or len(value) > 18 or length not in (-1, int(value)):
                raise ValueError(f"{method}: Content-Length of the response is {value!r:.100}, it must be one number")
            length = int(value)
        elif known not in OWN_FIELDS:
            lines.append(line + b"\r\n")
    return b"".join(lines), length

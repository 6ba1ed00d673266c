"""The server's side of an HTTP/1.1 connection: an engine.

::

    receive ──► head ──► on_head: who may, how long a body ──► body ──► on_request ──┐
                  ▲                                                                  ▼
                  └── the next request, if any was sent behind this one ◄───────── respond

Requests are answered one after the other: what a client sends before it has its answer waits in the stream, unparsed, and
the stream reads no further. The same holds while the peer takes none of its answers. However many requests come together,
each turn of the loop has time for other connections: the clock is asked behind every request.

A request that is refused is answered, and the connection closes: nobody knows what its next bytes would mean. Every state
that waits for the peer has an instant at which it ends; a body puts it off only by bytes of its content, and only as far
as they come at a lowest rate.
"""

import logging
from email.utils import formatdate
from http import HTTPStatus

from libc.stdint cimport int64_t, uint64_t

from fastrpc._core.base.wire cimport now_ns
from fastrpc._core.io.engine cimport ByteStream

from fastrpc._core.http1.head import RequestRefusedError

from fastrpc._core.http1.head cimport head_size, parse_head

cdef enum:
    # Bytes a second that a body brings on the average, as in Kestrel (MinRequestBodyDataRate).
    LOWEST_RATE = 240

# How long the last words of a connection may take to be read.
cdef double LINGER_SECONDS = 1.0

cdef bytes CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
cdef dict phrases = {int(status): status.phrase for status in HTTPStatus}
# The field Date of the second in which it was made.
cdef str date = ""
cdef uint64_t date_second = 0

logger = logging.getLogger("fastrpc.server")


cdef class HttpConnection(PythonEngine):
    """The server's side of one HTTP/1.1 connection; a subclass answers."""

    def __init__(self, RequestLimits limits not None):
        self.limits = limits

    # What a subclass implements

    def on_head(self, RequestHead head not None):
        """Return the most bytes of a body that this request may have."""
        return 0

    def on_request(self, RequestHead head not None, bytes body not None):
        """Answer a request, now or later, by `respond`."""
        raise NotImplementedError(f"{type(self).__name__} does not implement on_request()")

    def on_lost(self):
        """The connection is gone; nobody waits for an answer any more."""

    # What it uses

    def respond(self, int status, fields, bytes body not None, *, bint closes=False):
        """Answer the request that was handed over last."""
        cdef RequestHead head = self.head
        if not self.is_answering:
            raise RuntimeError("there is no request to answer")
        lines = response_head(status, fields, -1 if status in (204, 304) else len(body))
        closes = closes or self.is_draining or not head.keeps_alive
        if closes:
            lines.append("Connection: close")
        elif head.minor_version == 0:
            lines.append("Connection: keep-alive")
        self.is_answering = False
        self.head = None
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head.method == "HEAD" else body))
        if closes:
            self._end()
        else:
            self._rests = True
            self._wait(self.limits.idle_seconds)
            self._go_on()

    def begin_drain(self):
        """Close with the next answer; a connection that rests stays open for one more request."""
        self.is_draining = True

    # The engine

    cdef int connected(self) except -1:
        self._wait(self.limits.header_seconds)
        return PythonEngine.connected(self)

    cdef Py_ssize_t receive(self, const char* data, Py_ssize_t size) except -1:
        if self.is_closed:
            return size
        if not self._may_parse():
            (<ByteStream>self._stream).hold_input()
            return 0
        return self._parse(data, size)

    cdef int lost(self, object error) except -1:
        self.is_answering = False
        self.on_lost()
        return PythonEngine.lost(self, error)

    cdef uint64_t check(self, uint64_t now) except? 0:
        if self._due_ns == 0 or now < self._due_ns:
            return self._due_ns
        self._due_ns = 0
        if self.is_closed or self.is_stuck:
            if not self._has_taken():
                self.abort()
            elif self._stream is not NULL:
                self._wait(self.limits.body_idle_seconds)
        elif self._rests or self.head is None and self._seen == 0:
            self._end()
        else:
            self._refuse(RequestRefusedError(408, "the request did not come in time"))
        return self._due_ns

    cdef uint64_t blocked(self) except? 0:
        if self.is_stuck or self._stream is NULL or not (<ByteStream>self._stream).is_stuck():
            return 0
        self.is_stuck = True
        # The time of the peer goes on where it stands now: nothing of it is read meanwhile.
        self._left_ns = max(self._due_ns, self.now) - self.now if self._due_ns else 0
        self._has_taken()
        self._wait(self.limits.body_idle_seconds)
        return self._due_ns

    cdef int unblocked(self) except -1:
        self.is_stuck = False
        self._due_ns = 0
        if not self.is_answering:
            if self._left_ns == 0 or self._rests:
                self._wait(self.limits.idle_seconds)
            else:
                self._wait_until(now_ns() + self._left_ns)
        return self._go_on()

    # Requests

    cdef bint _may_parse(self) noexcept:
        """Return whether nothing comes before a look at further bytes."""
        return not (self.is_answering or self.is_stuck or self.is_closed)

    cdef Py_ssize_t _parse(self, const char* data, Py_ssize_t size) except -1:
        """Take requests from these bytes; return how many bytes that are. The rest is an incomplete part, or waits."""
        cdef Py_ssize_t at = 0, taken = 1
        try:
            while at < size and taken and self._may_parse():
                if self.body is None:
                    taken = self._take_head(data + at, size - at)
                else:
                    taken = self._take_body(self.body, data + at, size - at)
                at += taken
                # A request may cost far more than a message of another protocol.
                if self.head is None and taken and at < size and self.has_to_wait():
                    return at
        except RequestRefusedError as error:
            self._refuse(error)
        if self.is_closed:
            return size
        if at < size and not self._may_parse():
            (<ByteStream>self._stream).hold_input()
        return at

    cdef Py_ssize_t _take_head(self, const char* data, Py_ssize_t size) except -1:
        """Take a head, and ask whether the request may come; return 0 where it is not whole."""
        cdef RequestHead head
        cdef Py_ssize_t whole
        if self._rests or self._seen == 0 and not self._had_empty_line:
            # From its first byte on.
            self._rests = False
            self._wait(self.limits.header_seconds)
        if data[0] == b"\r" and not self._had_empty_line:
            # One empty line before a request is ignored (RFC 9112, section 2.2): old clients end a body with it.
            if size > 1 and data[1] != b"\n":
                raise RequestRefusedError(400, "the request does not begin with a method")
            self._had_empty_line = size > 1
            return 2 if size > 1 else 0
        whole = head_size(data, size, &self._seen, self.limits)
        if whole == 0:
            return 0
        self._seen = 0
        self._had_empty_line = False
        head = self.head = parse_head(data, whole, self.limits)
        self.body = BodyReader(head.content_length, self.on_head(head), self.limits)
        if head.expects_continue and head.has_body:
            self.send(CONTINUE)
        self._body_began_ns = now_ns()
        self._wait(self.limits.body_idle_seconds)
        self._take_body(self.body, data, 0)
        return whole

    cdef Py_ssize_t _take_body(self, BodyReader body, const char* data, Py_ssize_t size) except -1:
        """Take a part of the body; hand the request over once it is whole."""
        cdef Py_ssize_t before = len(body.content), taken = body.take(data, size)
        if body.is_whole:
            self.body = None
            self._hand_over(body.value())
        elif len(body.content) > before:
            # Lines before chunks and trailers put off nothing: they could be dripped for hours.
            self._wait_until(min(
                now_ns() + in_ns(self.limits.body_idle_seconds),
                self._body_began_ns
                + in_ns(self.limits.body_idle_seconds + <double>len(body.content) / LOWEST_RATE),
            ))
        return taken

    cdef int _hand_over(self, bytes body) except -1:
        # While it is answered, the time is the application's.
        self._due_ns = 0
        self.is_answering = True
        try:
            self.on_request(self.head, body)
        except Exception as error:
            logger.error("a request of %s failed", self.peer_name, exc_info=error)
            if self.is_answering:
                self.respond(500, (), b"", closes=True)
        return 0

    cdef int _refuse(self, object error) except -1:
        """Answer a request that is refused, and close."""
        cdef bytes text = f"{error.text}\n".encode()
        self.body = None
        lines = response_head(error.status, (("Content-Type", "text/plain; charset=utf-8"),), len(text))
        is_head = self.head is not None and self.head.method == "HEAD"
        self.head = None
        self.send("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + (b"" if is_head else text))
        return self._end()

    cdef int _end(self) except -1:
        """Close once the output is sent; what the peer still sends is read and dropped, so that it gets the answer."""
        cdef ByteStream stream
        if self.is_closed or self._stream is NULL:
            return 0
        self.is_closed = True
        self.is_answering = False
        stream = <ByteStream>self._stream
        stream.finish(True)
        # What came ahead is dropped now.
        stream.release_input()
        self._has_taken()
        return self._wait(self.limits.body_idle_seconds if self._untaken else LINGER_SECONDS)

    cdef bint _has_taken(self) except -1:
        """Return whether the peer has taken some of the output since this was asked last."""
        cdef int64_t before = self._untaken
        self._untaken = 0 if self._stream is NULL else (<ByteStream>self._stream).untaken_bytes()
        return self._untaken < before

    cdef int _go_on(self) except -1:
        """Take the requests that came ahead, in a turn of their own."""
        if self._stream is not NULL and self._may_parse():
            (<ByteStream>self._stream).release_input()
        return 0

    # Time

    cdef int _wait(self, double seconds) except -1:
        """Let the peer have so long for what comes next."""
        return self._wait_until(now_ns() + in_ns(seconds))

    cdef int _wait_until(self, uint64_t due_ns) except -1:
        self._due_ns = due_ns
        if self._stream is not NULL:
            (<ByteStream>self._stream).schedule_check(self._due_ns)
        return 0


cdef uint64_t in_ns(double seconds) noexcept:
    return <uint64_t>(seconds * 1e9)


cdef list response_head(int status, object fields, Py_ssize_t size):
    """Return the lines of a response's head without its end; a size of -1: it has no body."""
    cdef list lines = [f"HTTP/1.1 {status} {phrases.get(status, '')}", f"Date: {date_now()}"]
    for name, value in fields:
        if not (name.isascii() and name.replace("-", "").isalnum()) or any(mark in value for mark in "\r\n\0"):
            raise ValueError(f"the field {name!r} of the response is no field")
        lines.append(f"{name}: {value}")
    if size >= 0:
        lines.append(f"Content-Length: {size}")
    return lines


cdef str date_now():
    global date, date_second
    cdef uint64_t second = now_ns() // 1_000_000_000
    if second != date_second:
        date = formatdate(usegmt=True)
        date_second = second
    return date

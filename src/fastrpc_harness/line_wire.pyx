"""A line-based protocol as a wire: it shows what a link asks of a protocol, and that this is enough.

::

    shop.price "apple"          →   1 OK 5
    shop.pack@250 "apple"       →   2 DEADLINE_EXCEEDED shop.pack: its deadline passed
    cancel 3                    →   3 CANCELLED shop.pack was cancelled

A line is a full method name, the caller's milliseconds if it has any, and the argument in JSON. Answers have the number
of their call, and come as handlers end.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memchr

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport OK, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.io.engine cimport Engine
from fastrpc._core.link.contract cimport Dialect, Facts, Placing, Pushing
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.link cimport Link
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport TIMEOUT_NONE

from fastrpc.errors import RemoteProtocolError
from fastrpc.status import Status

cdef enum:
    LONGEST_LINE = 65_536


@cython.final
cdef class LineWire(Wire):
    """Lines in, lines out."""

    def __init__(self):
        self.protocol = "lines"
        self.calls = {}

    cdef int join(self, Engine link) except -1:
        self.connection = (<Link?>link).connection
        return 0

    cdef int lost(self) except -1:
        self.calls.clear()
        return 0

    cdef Py_ssize_t take(self, const char* data, Py_ssize_t size) except -1:
        cdef Link link = self.link()
        cdef Py_ssize_t at = 0
        cdef const char* end
        while at < size and not (link.is_closed or link.leaving.ignores_input):
            end = <const char*>memchr(data + at, c"\n", size - at)
            if end is NULL:
                break
            self._take_line(data[at : end - data])
            at = end - data + 1
            self.part = 0
            link.messages_left -= 1
            if link.messages_left < 0 and at < size and link.has_to_wait():
                return at
        if size - at > LONGEST_LINE:
            raise RemoteProtocolError(f"a line has more than {<int>LONGEST_LINE} bytes")
        if self.part == 0:
            self.began_ns = link.now
        self.part = size - at
        return at

    cdef int _take_line(self, bytes line) except -1:
        cdef Link link = self.link()
        cdef ServerCall call
        if not link.gate.asks_access():
            link.life.leave_opening()
        if line.startswith(b"cancel "):
            call = self.calls.get(int(line[7:]))
            # Its answer may be under way.
            if call is not None:
                link.gate.cancel_call(call)
            return 0
        head, _, argument = line.partition(b" ")
        name, _, milliseconds = (<bytes>head).partition(b"@")
        call = ServerCall.__new__(ServerCall)
        link.stamp(call)
        self.count += 1
        call.id = self.count
        call.codec = CODEC_JSON
        call.stated_timeout_us = <uint64_t>(float(milliseconds) * 1000) if milliseconds else TIMEOUT_NONE
        call.route = link.gate.routes.find(PyBytes_AS_STRING(<bytes>name), PyBytes_GET_SIZE(<bytes>name))
        if link.intake.is_crowded():
            return link.gate.refuse(call, RESOURCE_EXHAUSTED, link.intake.crowd_text(), True)
        self.calls[call.id] = call
        return link.request(
            call, PyBytes_AS_STRING(<bytes>name), PyBytes_GET_SIZE(<bytes>name), b"[" + <bytes>argument + b"]"
        )

    cdef int answer(self, Call call, bytes payload) except -1:
        return say(self, call, OK, payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        return say(self, call, failure.status, failure.text.encode())

    cdef int tell(self, Facts* facts) except -1:
        facts.is_receiving = self.part > 0
        facts.began_ns = self.began_ns
        facts.received = self.part
        facts.parked = 0
        return 0

    cdef uint64_t check(self, uint64_t now) except? 0:
        return 0


cdef int say(LineWire wire, Call call, int status, bytes text) except -1:
    cdef Link link = wire.link()
    cdef bytes line = b"%d %b %b\n" % (call.id, Status(status).name.encode(), text)
    wire.calls.pop(call.id, None)
    link.output.put(line, 0, PyBytes_GET_SIZE(line))
    call.state = STATE_ANSWERING
    return link.written()


def attempt(part, str method not None):
    """Call a method of an interface, as a link does it."""
    cdef Facts facts
    cdef Py_ssize_t room = 0
    if method == "place":
        (<Placing?>part).place(&room)
    elif method == "placed":
        (<Placing?>part).placed(0)
    elif method == "owner":
        (<Placing?>part).owner()
    elif method == "completes":
        (<Placing?>part).completes(0)
    elif method == "unknown_method":
        (<Dialect?>part).unknown_method("", None)
    elif method == "unknown_codec":
        (<Dialect?>part).unknown_codec(None)
    elif method == "compressor":
        (<Dialect?>part).compressor(0)
    elif method == "push":
        (<Pushing?>part).push(None, None)
    elif method == "tell":
        (<Wire?>part).tell(&facts)
    else:
        attempt_wire(part, method)


cdef int attempt_wire(Wire wire, str method) except -1:
    if method == "join":
        return wire.join(None)
    if method == "lost":
        return wire.lost()
    if method == "take":
        return wire.take(b"", 0)
    if method == "answer":
        return wire.answer(None, b"")
    if method == "fail":
        return wire.fail(None, None)
    wire.check(0)
    return 0

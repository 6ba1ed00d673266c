"""A line-based protocol as a wire. It shows which methods a link needs from a protocol, and that they suffice.

::

    shop.price "apple"          →   1 OK 5
    shop.pack@250 "apple"       →   2 DEADLINE_EXCEEDED shop.pack: its deadline passed
    cancel 3                    →   3 CANCELLED shop.pack was cancelled

A line has a full method name, optionally a timeout in milliseconds, and the argument as JSON. Answers begin with
the number of their call, and are sent in the order in which handlers end. Messages of a stream have it, too::

    feed.total                  →
    message 4 20                →   4 TAKEN 3
    end 4                       →   4 OK 20
    feed.count 1                →   5 MESSAGE 0
                                →   5 OK

A caller may send WINDOW bytes of messages that the handler has not taken; more is a violation. `TAKEN` grants as many
further bytes as the handler has taken. Initial metadata is a line `HEAD`, with the entries as JSON.

Two options show parts that most protocols lack. With `says_goodbye` the server announces its drain, and the peer
answers `bye`. With `has_window` the peer grants credit for the bytes of lines; lines beyond the credit wait::

                                →   0 LEAVING the server goes
    bye
    credit 100                  →   6 OK 5
                                →   0 CLOSED 0
"""

import json

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memchr, memset

from fastrpc._core.base.codec_numbers cimport CODEC_JSON
from fastrpc._core.base.status cimport OK, RESOURCE_EXHAUSTED
from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.io.engine cimport NOTHING, Engine
from fastrpc._core.link.contract cimport (
    Assembling, Backlog, Dialect, Facts, Flow, Forms, Goodbye, Handling, Outcomes, Placing, Pushing,
)
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.link cimport Link
from fastrpc._core.payload.metadata cimport decode_metadata
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.server.served_stream cimport ServedStream
from fastrpc._core.streams.stream_channel cimport StreamChannel
from fastrpc._core.wire.frame cimport STREAM_IN, STREAM_OUT, TIMEOUT_NONE, Frame

from fastrpc.errors import RemoteProtocolError
from fastrpc.status import Status

cdef enum:
    LONGEST_LINE = 65_536
    # The most bytes of messages that a handler has not taken.
    WINDOW = 1_024


@cython.final
cdef class LineWire(Wire):
    """Lines in, lines out."""

    def __init__(self, *, bint says_goodbye=False, bint has_window=False):
        cdef LineFlow flow = LineFlow.__new__(LineFlow)
        flow.wire = <PyObject*>self
        flow.untaken = {}
        flow.senders = []
        self.protocol = "lines"
        self.calls = {}
        self.flow = flow
        if says_goodbye:
            self.goodbye = LineGoodbye.__new__(LineGoodbye)
            (<LineGoodbye>self.goodbye).wire = <PyObject*>self
        if has_window:
            self.backlog = LineBacklog.__new__(LineBacklog)
            (<LineBacklog>self.backlog).wire = <PyObject*>self
            (<LineBacklog>self.backlog).lines = []

    cdef int join(self, Engine link) except -1:
        self.connection = (<Link?>link).connection
        return 0

    cdef int lost(self) except -1:
        cdef LineFlow flow = <LineFlow>self.flow
        self.calls.clear()
        flow.untaken.clear()
        flow.senders.clear()
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
        if not link.gate.guards.asks_access():
            link.life.leave_opening()
        verb, _, rest = line.partition(b" ")
        if verb in (b"bye", b"credit"):
            return self._take_word(verb, rest)
        if verb not in (b"cancel", b"message", b"end"):
            return self._begin(line)
        number, _, rest = (<bytes>rest).partition(b" ")
        call = self.calls.get(int(number))
        if call is None:
            # The answer of that call may already be on its way.
            return 0
        if verb == b"cancel":
            link.gate.cancel_call(call)
            return 0
        if verb == b"message":
            return (<LineFlow>self.flow).give(call, rest)
        return 0 if call.stream is None else (<StreamChannel>call.stream).end_input(None)

    cdef int _take_word(self, bytes verb, bytes rest) except -1:
        """Process a line about the connection."""
        if verb == b"credit" and self.backlog is not None:
            (<LineBacklog>self.backlog).window += int(rest)
            return self.link().written()
        if verb == b"bye" and self.goodbye is not None:
            (<LineGoodbye>self.goodbye).is_answered = True
            return 0
        raise RemoteProtocolError(f"this connection has no {verb.decode()}")

    cdef int _begin(self, bytes line) except -1:
        """Pass the call in a line to the gate."""
        cdef Link link = self.link()
        cdef ServerCall call
        head, _, argument = line.partition(b" ")
        name, _, milliseconds = (<bytes>head).partition(b"@")
        call = ServerCall.__new__(ServerCall)
        link.stamp(call)
        self.count += 1
        call.id = self.count
        call.codec = CODEC_JSON
        call.stated_timeout_us = <uint64_t>(float(milliseconds) * 1000) if milliseconds else TIMEOUT_NONE
        call.route = link.gate.routes.find(PyBytes_AS_STRING(<bytes>name), PyBytes_GET_SIZE(<bytes>name))
        if call.route is not None:
            call.flags = call.route.flags & (STREAM_IN | STREAM_OUT)
        if link.intake.is_crowded():
            return link.gate.refusals.refuse(call, RESOURCE_EXHAUSTED, link.intake.crowd_text(), True)
        self.calls[call.id] = call
        return link.request(
            call, PyBytes_AS_STRING(<bytes>name), PyBytes_GET_SIZE(<bytes>name), b"[" + <bytes>argument + b"]"
        )

    cdef int answer(self, Call call, bytes payload) except -1:
        return say(self, call, OK, b"" if call.route.gives_stream else payload)

    cdef int fail(self, Call call, Failure failure) except -1:
        return say(self, call, failure.status, failure.text.encode())

    cdef int tell(self, Facts* facts) except -1:
        facts.is_receiving = self.part > 0
        facts.began_ns = self.began_ns
        facts.received = self.part
        facts.parked = 0
        return 0

    cdef int refuse(self, Call call, Failure failure, bint is_faulty) except -1:
        return self.fail(call, failure)

    cdef uint64_t check(self, uint64_t now) except? 0:
        return 0

    cdef int forgive(self, uint64_t late) except -1:
        return 0


@cython.final
cdef class LineFlow(Flow):
    """Messages of streams; each message is a line."""

    cdef int give(self, ServerCall call, bytes line) except -1:
        """Pass a message to the handler of a call."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(line) + 1
        cdef Frame frame
        if call.stream is None:
            # The handler reads no more.
            return self.taken(call, size)
        if self.untaken.get(call, 0) + size > WINDOW:
            raise RemoteProtocolError(f"call {call.id} sends more than {<int>WINDOW} bytes ahead of its handler")
        self.untaken[call] = self.untaken.get(call, 0) + size
        memset(&frame, 0, sizeof(Frame))
        frame.codec = call.codec
        return (<ServedStream>call.stream).put(&frame, line, size)

    cdef int head(self, Call call, bytes metadata) except -1:
        entries = decode_metadata(metadata)
        return write_line(<LineWire>self.wire, call, b"HEAD", json.dumps(entries).encode())

    cdef int message(self, Call call, bytes payload, int codec, int compressor) except -1:
        return write_line(<LineWire>self.wire, call, b"MESSAGE", payload)

    cdef bint is_full(self, Call call) noexcept:
        cdef Link link = (<LineWire>self.wire).link()
        return link.life.is_held_back or link.output.size() > link.gate.send_soft

    cdef int await_turn(self, Call call) except -1:
        self.senders.append(call)
        return 0

    cdef int room(self) except -1:
        cdef Call call
        if self.senders:
            senders, self.senders = self.senders, []
            for call in senders:
                if call.stream is not None:
                    (<StreamChannel>call.stream).wake_sender()
        return 0

    cdef int taken(self, Call call, Py_ssize_t cost) except -1:
        if call.id not in (<LineWire>self.wire).calls:
            # The caller already has the answer.
            return 0
        self.untaken[call] = max(0, self.untaken.get(call, 0) - cost)
        return write_line(<LineWire>self.wire, call, b"TAKEN", b"%d" % cost)

    cdef int reader(self, Call call, bint waits) except -1:
        # The window of the protocol has a fixed size.
        return 0

    cdef int end_early(self, Call call) except -1:
        # Messages and cancels of calls that are not listed are dropped.
        (<LineWire>self.wire).calls.pop(call.id, None)
        return 0


@cython.final
cdef class LineGoodbye(Goodbye):
    """The announcement of a drain and the end: lines that belong to no call."""

    cdef int drain(self, str text) except -1:
        return put_line(<LineWire>self.wire, f"0 LEAVING {text}".encode())

    cdef bint is_told(self) except -1:
        return self.is_answered

    cdef int say(self, int reason, str text) except -1:
        return put_line(<LineWire>self.wire, f"0 CLOSED {reason} {text}".encode())


@cython.final
cdef class LineBacklog(Backlog):
    """Lines that wait for credit."""

    cdef bint pump(self) except -1:
        cdef Link link = (<LineWire>self.wire).link()
        cdef bytes line
        while self.lines and PyBytes_GET_SIZE(<bytes>self.lines[0]) <= self.window:
            line = <bytes>self.lines.pop(0)
            self.window -= PyBytes_GET_SIZE(line)
            self.size -= PyBytes_GET_SIZE(line)
            link.output.put(line, 0, PyBytes_GET_SIZE(line))
        return self.size != 0

    cdef int rest(self) noexcept:
        # Everything that the window allows was sent.
        return NOTHING

    cdef int turn_over(self) except -1:
        return 0

    cdef int64_t queued(self) except? -1:
        return self.size

    cdef int64_t passed(self) except? -1:
        return 0

    cdef int64_t credit(self) except? -1:
        return self.window


cdef int say(LineWire wire, Call call, int status, bytes text) except -1:
    """Write the end of a call."""
    wire.calls.pop(call.id, None)
    (<LineFlow>wire.flow).untaken.pop(call, None)
    call.state = STATE_ANSWERING
    return write_line(wire, call, Status(status).name.encode(), text)


cdef int write_line(LineWire wire, Call call, bytes kind, bytes text) except -1:
    return put_line(wire, b"%d %b %b" % (call.id, kind, text))


cdef int put_line(LineWire wire, bytes line) except -1:
    cdef Link link = wire.link()
    line = line.rstrip() + b"\n"
    if wire.backlog is None:
        link.output.put(line, 0, PyBytes_GET_SIZE(line))
    else:
        (<LineBacklog>wire.backlog).lines.append(line)
        (<LineBacklog>wire.backlog).size += PyBytes_GET_SIZE(line)
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
    elif method == "push":
        (<Pushing?>part).push(None, None)
    elif isinstance(part, Outcomes):
        attempt_outcomes(part, method)
    elif isinstance(part, Dialect):
        attempt_dialect(part, method)
    elif isinstance(part, Forms):
        attempt_forms(part, method)
    elif isinstance(part, Handling):
        attempt_handling(part, method)
    elif isinstance(part, Assembling):
        attempt_assembling(part, method)
    elif isinstance(part, Flow):
        attempt_flow(part, method)
    elif isinstance(part, Goodbye):
        attempt_goodbye(part, method)
    elif isinstance(part, Backlog):
        attempt_backlog(part, method)
    elif method == "tell":
        (<Wire?>part).tell(&facts)
    else:
        attempt_wire(part, method)


cdef int attempt_outcomes(Outcomes outcomes, str method) except -1:
    if method == "answer":
        return outcomes.answer(None, b"")
    if method == "fail":
        return outcomes.fail(None, None)
    if method == "refuse":
        return outcomes.refuse(None, 0, "", False)
    if method == "hold":
        return outcomes.hold(None)
    if method == "release":
        return outcomes.release(None)
    return outcomes.judged(None, 0)


cdef int attempt_dialect(Dialect dialect, str method) except -1:
    if method == "unknown_method":
        dialect.unknown_method(None, "", None)
    elif method == "unknown_codec":
        dialect.unknown_codec(None)
    elif method == "unknown_compressor":
        dialect.unknown_compressor(None)
    elif method == "corrupt_status":
        dialect.corrupt_status(None)
    elif method == "unfit_status":
        dialect.unfit_status(None)
    elif method == "has_status_details":
        dialect.has_status_details(None)
    else:
        dialect.compressor(None, 0)
    return 0


cdef int attempt_forms(Forms forms, str method) except -1:
    if method == "protocol":
        forms.protocol(None)
    elif method == "peer":
        forms.peer(None)
    elif method == "marshal":
        forms.marshal(None)
    elif method == "check_sent":
        forms.check_sent(None, b"")
    else:
        forms.note_answer(None, 0, {}, None)
    return 0


cdef int attempt_handling(Handling handling, str method) except -1:
    if method == "form_of":
        handling.form_of(None)
    if method == "note_mistakes":
        return handling.note_mistakes(None, b"", "")
    if method == "hold":
        return handling.hold(None)
    return handling.leave_handler(None)


cdef int attempt_assembling(Assembling assembling, str method) except -1:
    if method == "count":
        assembling.count()
    elif method == "admitted":
        assembling.admitted(None)
    elif method == "judged":
        assembling.judged(None, 0)
    else:
        assembling.end("")
    return 0


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
    if method == "refuse":
        return wire.refuse(None, None, False)
    if method == "forgive":
        return wire.forgive(0)
    wire.check(0)
    return 0


cdef int attempt_goodbye(Goodbye goodbye, str method) except -1:
    if method == "drain":
        return goodbye.drain("")
    if method == "is_told":
        return goodbye.is_told()
    return goodbye.say(0, "")


cdef int attempt_backlog(Backlog backlog, str method) except -1:
    if method == "pump":
        return backlog.pump()
    if method == "turn_over":
        return backlog.turn_over()
    if method == "queued":
        backlog.queued()
    elif method == "passed":
        backlog.passed()
    else:
        backlog.credit()
    return 0


cdef int attempt_flow(Flow flow, str method) except -1:
    if method == "head":
        return flow.head(None, b"")
    if method == "message":
        return flow.message(None, b"", 0, 0)
    if method == "await_turn":
        return flow.await_turn(None)
    if method == "room":
        return flow.room()
    if method == "taken":
        return flow.taken(None, 0)
    if method == "reader":
        return flow.reader(None, True)
    return flow.end_early(None)

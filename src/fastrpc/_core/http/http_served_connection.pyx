"""The served calls of one connection of HTTP/1.1.

::

    Gate ──► HttpServedConnection ──► HttpOutcomes, and the groups of `link/contract` (`http_pages`)

A link with a wire passes outcomes on in the same way (`server/link`).
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.http.http_pages cimport DIALECT, FLOW, FORMS, HANDLING, OUTCOMES
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.payload.marshal cimport Marshal
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport ONE_WAY


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""

    cdef int speak(self, str protocol) except -1:
        self.protocol = protocol
        self.counters = (<Gate>self.gate).counters_by_method(protocol)
        if self.peer_info is not None:
            self.peer_info.protocol = protocol
        return 0

    # The end of a call

    cdef int do_answer(self, Call call, bytes payload) except -1:
        return OUTCOMES.answer(call, payload)

    cdef int do_fail(self, Call call, Failure failure) except -1:
        return OUTCOMES.fail(call, failure)

    cdef bint is_unanswered(self, Call call) except -1:
        return call.state != STATE_ANSWERING

    cdef int do_refuse(self, Call call, int status, str text, bint is_faulty) except -1:
        cdef ServerCall served = <ServerCall>call
        if served.charge and served.waiting_payload is None and not served.is_held:
            (<Gate>self.gate).memory.charge(served, 0)
        if call.flags & ONE_WAY:
            return 0
        return OUTCOMES.refuse(call, Failure(status, text, pushback_ms=served.pushback_ms, has_run=False), is_faulty)

    cdef int do_release(self, Call call) except -1:
        return 0

    # The handler

    cdef int do_hold(self, Call call) except -1:
        return HANDLING.hold(call)

    cdef int leave_handler(self, Call call) except -1:
        return HANDLING.leave_handler(call)

    cdef object form_of(self, Call call):
        return HANDLING.form_of(call)

    def note_mistakes(self, ServerCall call not None, bytes payload, str first):
        """Keep all mistakes in arguments by name."""
        HANDLING.note_mistakes(call, payload, first)

    # Messages

    cdef int send_head(self, Call call, bytes metadata) except -1:
        return FLOW.head(call, metadata)

    cdef int send_message(self, Call call, bytes payload, int codec, int compressor) except -1:
        return FLOW.message(call, payload, codec, compressor)

    cdef int message_taken(self, Call call, Py_ssize_t cost) except -1:
        return FLOW.taken(call, cost)

    cdef int reader_waits(self, Call call) except -1:
        return FLOW.reader(call, True)

    cdef bint output_is_full(self, Call call) noexcept:
        return FLOW.is_full(call)

    cdef int await_turn(self, Call call) except -1:
        return FLOW.await_turn(call)

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        return self.look_by(due_ns) if due_ns else 0

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        return OUTCOMES.judged(call, verdict)

    # Words and forms

    cdef int taken_compressor(self, Call call, int number, object compressor) except -1:
        return DIALECT.compressor(call, number)

    def unknown_method(self, ServerCall call not None, str method not None, services):
        """Return the error text for a path without a method; for rpcx the text of servers in Go."""
        return DIALECT.unknown_method(call, method, services)

    def unknown_codec(self, ServerCall call not None):
        """Return the error text of servers in Go, for calls by the header gateway."""
        return DIALECT.unknown_codec(call)

    def unknown_compressor(self, ServerCall call not None):
        """Return the error text for an unknown compressor."""
        return DIALECT.unknown_compressor(call)

    def corrupt_status(self, ServerCall call not None):
        """Return the status for a request, or a message of its stream, that cannot be decompressed."""
        return DIALECT.corrupt_status(call)

    def encode_details(self, ServerCall call not None, int status, str text, details):
        """Return the details of an error in the form of gRPC, for the protocols that descend from it."""
        return DIALECT.details(call, status, text, details)

    cdef str protocol_of(self, Call call):
        return FORMS.protocol(call)

    def peer_of(self, ServerCall call not None):
        """Return the other side of a call."""
        return FORMS.peer(call)

    cdef int check_sent(self, Call call, bytes metadata) except -1:
        return FORMS.check_sent(call, metadata)

    cdef Marshal marshal_of(self, Call call):
        return FORMS.marshal(call)

    def note_answer(self, ServerCall call not None, int status, dict fields, compress):
        """Keep what the handler says of its answer, unless its protocol has other answers."""
        FORMS.note_answer(call, status, fields, compress)

"""The served calls of one connection of HTTP/1.1.

::

    Gate ──► HttpServedConnection ──► HttpOutcomes
     └─────► dialect, forms, flow, handling: the groups of `link/contract` (`http_pages`)

A link with a wire passes outcomes on in the same way (`server/link`).
"""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport STATE_ANSWERING, Call
from fastrpc._core.http.http_pages cimport DIALECT, FLOW, FORMS, HANDLING, OUTCOMES
from fastrpc._core.link.failure cimport Failure
from fastrpc._core.server.gate cimport Gate
from fastrpc._core.server.served_call cimport ServerCall
from fastrpc._core.wire.frame cimport ONE_WAY


@cython.final
cdef class HttpServedConnection(EngineServedConnection):
    """The served calls of one HTTP connection."""

    def __init__(self, gate not None, str protocol not None):
        self.dialect = DIALECT
        self.forms = FORMS
        self.flow = FLOW
        self.handling = HANDLING
        EngineServedConnection.__init__(self, gate, protocol)

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

    cdef int do_hold(self, Call call) except -1:
        return HANDLING.hold(call)

    # The sender of a long request

    cdef int await_sender(self, ServerCall call, uint64_t due_ns) except -1:
        return self.look_by(due_ns) if due_ns else 0

    cdef int sender_known(self, ServerCall call, int verdict) except -1:
        return OUTCOMES.judged(call, verdict)

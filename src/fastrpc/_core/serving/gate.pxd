"""The gate: the steps of a call on its way to its handler, in every protocol."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Route, RouteTable
from fastrpc._core.serving.access cimport Access
from fastrpc._core.serving.admission cimport Admission
from fastrpc._core.serving.call_limits cimport CallLimits
from fastrpc._core.serving.exchange cimport Exchange
from fastrpc._core.serving.handler_runner cimport HandlerRunner
from fastrpc._core.serving.served_call cimport ServerCall


@cython.final
cdef class Gate(Admission):
    cdef:
        # The methods of the server, and the runner of their handlers.
        readonly RouteTable routes
        readonly HandlerRunner runner

        # Its Python part (`fastrpc.server.Dispatcher`).
        readonly object dispatcher

        # Codecs and compressors that requests may use, by their numbers; the codecs as each request asks (Taken).
        readonly dict codecs
        readonly dict compressors
        int[256] takes_codec

        # The caller's time when it names none; what expired unstarted.
        uint64_t default_timeout_ns
        readonly uint64_t expired_unstarted

        # Who may call what; None: whoever is connected may call everything.
        Access _access

        # How much callers may ask for, or None; whether there is any of the two.
        readonly CallLimits limits
        bint has_guards

        # An ended call that can be reused.
        ServerCall spare

    cdef bint _is_refused_early(self, ServerCall call, bytes name, Py_ssize_t size) except -1
    cdef int _pass_in_alone(self, ServerCall call, bytes name, bytes payload) except -1
    cdef int pass_in(self, ServerCall call, const char* method, Py_ssize_t size, uint64_t names, bytes payload) except -1
    cdef int cancel(self, ServerCall call, bint is_late) except -1
    cdef int end_call(self, ServerCall call, str text) except -1
    cdef int note_answered(self, ServerCall call, int status, str text) except -1
    cdef int leave(self, Exchange exchange) except -1
    cdef int _refuse_unknown(self, ServerCall call, bytes method, uint64_t names, bytes payload) except -1
    cdef bint _has_access(self, ServerCall call, str method, uint64_t names, bytes payload) except -1
    cdef int _wait_for_verdict(self, ServerCall call, str method, uint64_t names, bytes payload) except -1
    cdef int set_caller_deadline(self, ServerCall call) noexcept
    cdef int refuse_late_in(self, ServerCall call, str step) except -1
    cdef int _take_back(self, ServerCall call) except -1
    cdef bint _is_still_wanted(self, ServerCall call, str method, str step) except -1
    cdef int _refuse_access(self, ServerCall call, str method, int status) except -1
    cdef bint _passes_guards(self, ServerCall call, uint64_t names, bytes payload) except -1
    cdef bint _is_within_limits(self, ServerCall call) except -1
    cdef bint _fits(self, ServerCall call, uint64_t names) except -1
    cdef int _refuse_late(self, ServerCall call) except -1
    cdef bint _may_answer(self, ServerCall call) except -1
    cdef int _unpack(self, ServerCall call, bytes payload) except -1
    cdef int _begin(self, ServerCall call, bytes payload) except -1
    cdef int _note_stall(self, ServerCall call, uint64_t before) except -1
    cdef bint _decode(self, ServerCall call, bytes payload) except -1
    cdef int _refuse_names(self, ServerCall call, Py_ssize_t count) except -1
    cdef int _reject(self, ServerCall call, object error) except -1

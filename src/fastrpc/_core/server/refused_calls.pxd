"""Calls that are not started: their counts and their answers."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport MethodRoute
from fastrpc._core.server.served_call cimport ServerCall

cdef enum:
    # The pause before a retry, in milliseconds, that is stated to a host with too many wrong credentials.
    REFUSED_PAUSE_MS = 1000


@cython.final
cdef class CallCounters:
    cdef:
        # The counters of native calls to methods that are not served here.
        MethodCounters unknown_method
        # The counters of calls of other protocols: protocol -> method -> counters.
        dict _by_protocol

    cdef MethodCounters of(self, ServerCall call, MethodRoute route)


@cython.final
cdef class RefusedCalls:
    cdef:
        # The counters of all calls of the server, started or not.
        CallCounters counters

        # `count`: the number of calls that were not started. `expired`: the calls among them whose deadline had passed.
        readonly uint64_t count
        readonly uint64_t expired

        # An object that is notified of calls that do not start (`fastrpc.server.watching`); None in most servers.
        public object watch

    cdef int refuse(self, ServerCall call, int status, str text, bint is_faulty=*, int told=*, uint32_t pause_ms=*) except -1
    cdef int note(self, ServerCall call, int status, str text) except -1
    cdef int refuse_late_in(self, ServerCall call, str step) except -1
    cdef int refuse_absent(self, ServerCall call, str text) except -1
    cdef int refuse_client(self, ServerCall call, tuple refusal) except -1

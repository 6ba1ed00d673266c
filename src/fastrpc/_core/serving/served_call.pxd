from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport Call
from fastrpc._core.limiting.concurrency_limiter cimport Permit
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.serving.exchange cimport Exchange


cdef class ServerCall(Call):
    cdef:
        # Its connection, what counts it from the gate on, while a handler runs in it its task; how it is to end when the
        # handler was told to stop.
        readonly Exchange exchange
        MethodCounters counters
        HandlerTask task
        readonly bint is_expired
        bint was_cancelled
        bint is_running
        bint is_held

        # Whether the caller was told of its end: later ends are dropped; the status it was told while the handler ran, 0
        # if the handler's own end is what it is told.
        bint was_ended
        int told_status

        # Whether the call keeps an identity, whatever becomes of that of its connection, and that identity, None: nobody's.
        # Whether it is proved by a credential of the call's own, and when that expires, 0: not.
        bint keeps_identity
        object own_identity
        bint has_own_credential
        uint64_t own_expires_ns

        # Its places under limits of concurrency, until its end; while it is refused, milliseconds after which its caller may
        # retry, 0: not stated.
        Permit permit
        readonly uint32_t pushback_ms

        # Bytes of its decoded arguments, known once they are; bytes counted for it now, at the connection.
        Py_ssize_t weight
        Py_ssize_t charge

        # While it waits for its start: what it is started with, and since when. While it waits, or its request is
        # unpacked: the context in which its request was read.
        bytes waiting_payload
        uint64_t queued_ns
        object waiting_context

        # Whether no handler saw it: an interceptor, or a full queue, refused it; whether the log is told of its end.
        public bint never_started
        bint is_logged

        # Decoded once; what became of it, for interceptors.
        readonly object given
        object outcome_status
        object outcome_error

        # For `interception`: the handler returned None; an interceptor called `proceed` and dropped what it returned.
        public bint _gave_none
        public bint _dropped_proceed

    cdef int stop(self) except -1
    cdef int pack_metadata(self) except -1
    cdef bint make_new(self) noexcept


# Let the calls of a connection keep the identity that they started with: it changes next.
cdef int keep_identities(Exchange exchange) except -1

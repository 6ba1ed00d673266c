from libc.stdint cimport uint8_t, uint32_t, uint64_t

from fastrpc._core.base.histogram cimport MethodCounters
from fastrpc._core.calls.call cimport Call
from fastrpc._core.limiting.concurrency_limiter cimport Permit
from fastrpc._core.loop.handler_task cimport HandlerTask
from fastrpc._core.server.served_connection cimport ServedConnection


cdef class ServerCall(Call):
    cdef:
        # Its connection, what counts it from the gate on, while a handler runs in it its task.
        readonly ServedConnection connection
        MethodCounters counters
        HandlerTask task

        # Truth values of a byte each, as in Call. How it is to end when the handler was told to stop.
        uint8_t was_cancelled
        uint8_t is_running
        uint8_t is_held

        # Whether the caller was told of its end: later ends are dropped.
        uint8_t was_ended

        # Whether the call keeps an identity, whatever becomes of that of its connection; whether that is proved by a
        # credential of the call's own. Whether the log is told of its end.
        uint8_t keeps_identity
        uint8_t has_own_credential
        uint8_t is_logged

        # Whether the caller asks for the head of a stream alone: no handler starts.
        readonly uint8_t wants_head

        # Its deadline has passed. No handler saw it: an interceptor, or a full queue, refused it.
        readonly bint is_expired
        public bint never_started

        # For `interception`: the handler returned None; an interceptor called `proceed` and dropped what it returned.
        public bint _gave_none
        public bint _dropped_proceed

        # The status that the caller was told while the handler ran, 0 if the handler's own end is what it is told.
        int told_status

        # While it is refused, milliseconds after which its caller may retry, 0: not stated.
        readonly uint32_t pushback_ms

        # Its own identity, None: nobody's; when the credential of its own expires, 0: not.
        object own_identity
        uint64_t own_expires_ns

        # Its places under limits of concurrency, until its end.
        Permit permit

        # Bytes of its decoded arguments, known once they are; bytes counted for it now, at the connection, and those of its
        # record.
        Py_ssize_t weight
        Py_ssize_t charge
        Py_ssize_t record

        # While it waits for its start: what it is started with, and since when. While it waits, or its request is
        # unpacked: the context in which its request was read.
        bytes waiting_payload
        uint64_t queued_ns
        object waiting_context

        # What the beginning of its request said, as far as the protocol's answers depend on it; None in the native one.
        object head

        # Decoded once; what became of it, for interceptors.
        readonly object given
        object outcome_status
        object outcome_error

    cdef int stop(self) except -1
    cdef int pack_metadata(self) except -1
    cdef bint make_new(self) noexcept


# Let a call keep the identity of its connection, whatever becomes of that.
cdef inline int keep_identity(ServerCall call) noexcept:
    if not call.keeps_identity:
        call.keeps_identity = True
        call.own_identity = call.connection.identity
    return 0


# Return whether the credential by which a call was let in has expired since: it would start as nobody's.
cdef bint has_lapsed(ServerCall call, uint64_t now) noexcept

# Let the calls of a connection keep the identity that they started with: it changes next.
cdef int keep_identities(ServedConnection connection) except -1

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.io.engine cimport Engine


@cython.final
cdef class ClientLife:
    cdef:
        # `owner`: the object that is notified, None for threads, which check the connection; `announces_calls`: whether
        # it is notified of the next call.
        readonly object owner
        public bint announces_calls

        # The number of calls in flight at which the owner is notified once; 0: never.
        public Py_ssize_t crowd

        # Which calls may be sent before the server has answered the opening.
        int _early_calls

        # When the server last refused the credential.
        uint64_t _refused_ns

        # `_made_ns`, `_used_ns`: instants of the connection's life. `_handshake_ns`, `_idle_ns`, `_age_ns`: the times
        # of its rules in nanoseconds, 0 = off.
        uint64_t _made_ns
        uint64_t _used_ns
        uint64_t _handshake_ns
        uint64_t _idle_ns
        uint64_t _age_ns

        # `_calls`: the number of calls in progress. `was_used`: whether there ever was a call. Probes of a server's
        # health do not count.
        Py_ssize_t _calls
        bint was_used

        # `_takes_calls`: whether the connection has begun and accepts calls. `late_reason`: why the engine closes if
        # the server answers the opening too late, 0: the stream is cut off.
        bint _takes_calls
        int late_reason

        # `is_aged`: whether the connection waits for its successor; `is_spent`: whether it ended for its age or rest;
        # `is_dispensable`: whether it was not used; `is_retiring`: whether it ends with its last call.
        readonly bint is_aged
        readonly bint is_spent
        readonly bint is_dispensable
        readonly bint is_retiring

    # `begin`: the connection begins now; `opened`: the server has answered its opening.
    cdef int begin(self, Engine engine) except -1
    cdef int opened(self, Engine engine) except -1

    # Return whether a call, idempotent or not, may be sent before the server has answered the opening.
    cdef bint takes_early(self, bint is_idempotent) noexcept

    # Note that a call begins, or has ended. Not called for probes.
    cdef int call_begins(self, Engine engine, bint is_one_way) except -1
    cdef int call_ended(self, Engine engine) except -1

    # Return True once, when `in_flight` reaches `crowd`: the owner is to be notified.
    cdef bint is_crowd(self, Py_ssize_t in_flight) noexcept

    # Have the credential replaced: before it expires, in this number of seconds (`credential_expires`), or because the
    # server no longer accepts it (`credential_refused`).
    cdef int credential_expires(self, Engine engine, double seconds) except -1
    cdef int credential_refused(self, Engine engine) except -1

    # Return whether a thread may send a new call on this connection, given its age and idle time.
    cdef bint takes_thread(self, Engine engine, uint64_t now, uint64_t rested_ns) except -1

    # `refuse_calls`: accept no new calls. `retire`: also close once no call is in progress. `close_when_idle`: close if
    # `in_flight` is 0.
    cdef int refuse_calls(self, Engine engine) except -1
    cdef int retire(self, Engine engine, Py_ssize_t in_flight) except -1
    cdef int close_when_idle(self, Engine engine, Py_ssize_t in_flight) except -1

    # Compare its instants with now; return the next one, 0 = none. `is_ready`: the server has answered the opening.
    # `is_busy`: calls are under way, or there were some since the last check.
    cdef uint64_t check(self, Engine engine, uint64_t now, bint is_ready) except? 0
    cdef uint64_t look(self, Engine engine, uint64_t now, bint is_ready, bint is_busy) except? 0
    cdef uint64_t _check_rest(self, Engine engine, uint64_t now, bint is_ready) except? 0

"""The guards of a gate: the rights of callers, and their limits."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.limiting.limiters cimport ConcurrencyLimiter, RateLimiter
from fastrpc._core.server.access cimport Access
from fastrpc._core.server.admission cimport CallAdmission
from fastrpc._core.server.handler_runner cimport HandlerRunner
from fastrpc._core.server.refused_calls cimport RefusedCalls
from fastrpc._core.server.served_call cimport ServerCall

cdef enum KeyKind:
    # The key by which calls are counted: one key for the whole method, or a property of the call or its connection.
    KEY_FIXED = 0
    KEY_PEER = 1
    KEY_IDENTITY = 2
    KEY_METADATA = 3


@cython.final
cdef class BoundLimit:
    cdef:
        # The limiter is `rate` or `concurrency`; the other field is None.
        RateLimiter rate
        ConcurrencyLimiter concurrency

        # `kind`: the kind of the key; `key`: the key for KEY_FIXED; `entry`: the name of the metadata entry for
        # KEY_METADATA.
        KeyKind kind
        uint64_t key
        str entry

        # The text of a refusal.
        readonly str text

    cdef uint64_t key_for(self, ServerCall call) except 0


@cython.final
cdef class CallLimits:
    cdef:
        # bind(method) returns the limits of a method as a tuple of BoundLimit.
        object _bind

        # The milliseconds until a retry that the last refusal states.
        uint32_t pause_ms

        # The limit for which a call is being refused now, or None.
        BoundLimit refusing

        # `refused_by_rate`: the number of calls refused by rate limits; `refused_by_concurrency`: by limits of calls in
        # progress.
        readonly uint64_t refused_by_rate
        readonly uint64_t refused_by_concurrency

    cdef BoundLimit take(self, ServerCall call)


@cython.final
cdef class Guards:
    cdef:
        # `runner`: the runner of handlers, whose dispatcher has the names of methods. `admission`, `refusals`: the
        # budgets and the refusals of the server.
        HandlerRunner runner
        CallAdmission admission
        RefusedCalls refusals

        # The rights of callers; None if every peer may call every method.
        readonly Access access

        # `limits`: the limits of callers, or None; `has_guards`: whether there are rights or limits, without which no
        # call is checked.
        readonly CallLimits limits
        bint has_guards

        # The timeout of calls whose caller states none, in nanoseconds; 0 = none.
        uint64_t default_timeout_ns

    # Single steps, which engines call for a long request. `SenderCheck` has their order.
    cdef inline bint asks_access(self) noexcept:
        """Return whether callers have to authenticate or to be authorised."""
        return self.access is not None

    cdef int set_caller_deadline(self, ServerCall call) noexcept
    cdef int take(self, ServerCall call, object identity, int status, object seconds) except? -2
    cdef bint give_up(self, ServerCall call) except -1
    cdef int refuse_access(self, ServerCall call, str method, int status) except -1
    cdef int refuse_undecided(self, ServerCall call, str method, object error) except -1
    cdef bint knows_peer(self, object engine) except -1
    cdef bint may_call(self, object identity, object route) except -1

    # All steps of a complete call.
    cdef bint passes(self, ServerCall call, uint64_t names, bytes payload) except -1
    cdef bint has_access(self, ServerCall call, str method, uint64_t names, bytes payload) except -1
    cdef bint is_within_limits(self, ServerCall call) except -1
    cdef bint is_still_wanted(self, ServerCall call, str method, str step) except -1

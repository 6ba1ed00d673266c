cimport cython
from libc.stdint cimport uint32_t, uint64_t

from fastrpc._core.limiting.concurrency_limiter cimport ConcurrencyLimiter
from fastrpc._core.limiting.rate_limiter cimport RateLimiter
from fastrpc._core.server.served_call cimport ServerCall

cdef enum KeyKind:
    # The key that calls count by: one for all of the method, or a property of the call or its connection.
    KEY_FIXED = 0
    KEY_PEER = 1
    KEY_IDENTITY = 2
    KEY_METADATA = 3


@cython.final
cdef class BoundLimit:
    cdef:
        # One of the two; the other one is None.
        RateLimiter rate
        ConcurrencyLimiter concurrency

        # The key for KEY_FIXED, the name of the entry for KEY_METADATA.
        KeyKind kind
        uint64_t key
        str entry

        # The reason of a refusal.
        readonly str text

    cdef uint64_t key_for(self, ServerCall call) except 0


@cython.final
cdef class CallLimits:
    cdef:
        # bind(method) returns the limits of a method as a tuple of BoundLimit.
        object _bind

        # Of the last refusal: milliseconds after which to retry.
        uint32_t pause_ms

        # That limit, while its call is refused.
        BoundLimit refusing

        # Calls refused by limits of the rate, and of calls in progress.
        readonly uint64_t refused_by_rate
        readonly uint64_t refused_by_concurrency

    cdef BoundLimit take(self, ServerCall call)
    cdef bint _take_one(self, BoundLimit limit, ServerCall call) except -1
    cdef int _give_back(self, ServerCall call, tuple limits, Py_ssize_t count) except -1

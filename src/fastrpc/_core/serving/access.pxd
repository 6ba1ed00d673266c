"""The gate's steps authenticate and authorise."""

cimport cython
from libc.stdint cimport uint64_t

from fastrpc._core.calls.call cimport Route
from fastrpc._core.serving.exchange cimport Exchange
from fastrpc._core.serving.served_call cimport ServerCall

cdef enum:
    # Instead of a status: the credential of the call is being verified.
    WAITS = -1


@cython.final
cdef class Access:
    cdef:
        # Verifies credentials (`fastrpc.serving.authentication.Authentication`).
        readonly object authentication

        # What authorises, a Policy or a function, or None; whether its answers may be kept.
        object _authorize
        bint is_policy
        bint keeps_answers

        # What `authorize` is told of each method.
        dict _routes

        # When changed files were last looked for, and how often one was taken.
        uint64_t looked_ns
        uint64_t generation

        # The answer that `WAITS` stands for.
        readonly object pending

    cdef int judge(self, ServerCall call) except? -2
    cdef int decide(self, ServerCall call, object identity) except? -2
    cdef int _look(self, uint64_t now) except -1
    cdef int _renew(self, Exchange exchange) except -1
    cdef int _answer(self, object identity, Route route) except -1

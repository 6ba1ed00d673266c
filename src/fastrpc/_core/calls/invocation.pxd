"""The invocation of handlers with their decoded arguments, and the chain of interceptors around a call."""

from cpython.object cimport PyObject

# `given`: a tuple of the arguments, a single bytes argument, or BoundArguments.
cdef object call_handler(object handler, object given)

# Like `call_handler`, but returns NULL with the exception set.
cdef PyObject* start_handler(object handler, object given) noexcept


cdef class Chain:
    cdef:
        # `interceptors`: the interceptors, outermost first. `innermost`: the innermost function: call -> coroutine.
        tuple interceptors
        object innermost

        # Called with a call and its error before the error propagates outwards.
        object note_failure

        # Returns whether None is a valid result of a call; None skips the check.
        object admits_none

        # The interceptors' `_concerns`, which return whether a call concerns them; None: every call concerns an
        # interceptor.
        tuple questions

    cdef bint concerns(self, object call) except -1
    cdef object fault_of(self, Py_ssize_t position, object call, object value)


cdef class RestOfChain:
    cdef:
        # The next interceptor is the one at `position`; the innermost function follows the last one.
        Chain chain
        Py_ssize_t position
        RestOfChain next

    cdef object begin(self, object call)


cdef class Proceeding:
    cdef:
        # `origin`: the chain. `call`: its call. `inner`: the running inner coroutine; None before its start and after
        # its end.
        RestOfChain origin
        object call
        object inner
        bint is_over

    cdef int step(self, object value, PyObject** result) except -1
    cdef int returned(self, object value) except -1
    cdef int failed(self, object error) except -1

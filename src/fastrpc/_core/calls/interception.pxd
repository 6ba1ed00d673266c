from cpython.object cimport PyObject


cdef class Chain:
    cdef:
        # What goes around each call, outermost first, and what stands in the middle: call -> coroutine.
        tuple interceptors
        object innermost

        # Called with a call and what it failed with, before the error goes on outwards.
        object note_failure

        # Asked whether None can be what a call comes to; None: interceptors may return what they like.
        object admits_none

    cdef object fault_of(self, Py_ssize_t position, object call, object value)


cdef class Proceed:
    cdef:
        # The interceptor that comes next is the one at `position`; behind the last one comes what is innermost.
        Chain chain
        Py_ssize_t position
        Proceed next

    cdef object begin(self, object call)


cdef class Proceeding:
    cdef:
        # What is awaited, whose call it is, and the coroutine that runs meanwhile; None before and after.
        Proceed origin
        object call
        object inner
        bint is_over

    cdef int step(self, object value, PyObject** result) except -1
    cdef int returned(self, object value) except -1
    cdef int failed(self, object error) except -1

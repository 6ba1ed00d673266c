"""Results of calls in C: an owned reference, or NULL while an exception is set.

A caller compares with NULL and lets another function handle the exception. A `try` around the call, and the wrapper
that Cython puts around calls of unknown objects, cost more than encoding a small message.
"""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject* PyObject_CallOneArg(object function, object argument) noexcept

cdef extern from *:
    """
    static inline PyObject *fastrpc_as_result(PyObject *value) { return value; }
    """
    # Takes over the reference. NULL raises the exception that is set.
    object as_result "fastrpc_as_result"(PyObject* value)

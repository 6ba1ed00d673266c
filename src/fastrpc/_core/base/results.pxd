"""Results of calls in C: an owned reference, or NULL while an exception is set.

A caller that compares with NULL has the exception handled by another function: `try` around the call itself, and the
wrapper that Cython puts around calls of unknown objects, cost more than a small message's codec.
"""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    PyObject* PyObject_CallOneArg(object function, object argument) noexcept

cdef extern from *:
    """
    static inline PyObject *fastrpc_as_result(PyObject *value) { return value; }
    """
    # Takes over the reference; raises the exception that is set instead of one.
    object as_result "fastrpc_as_result"(PyObject* value)
